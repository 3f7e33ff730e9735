"""Keep the measurements of a run in its folder, as metrics.json."""

import contextlib

from common.compare.evaluate import Result
from common.program.errors import UserError
from common.program.files import read_json, replacing_unlocked, write_json
from common.program.signals import signals_wait

VERSION = 6  # of the metrics


def _basis(run, args, judge):
    """Return a dict of the models, judge, flags and version on which all measurements depend."""
    iw, models = [args.iw_samples, args.iw_images], run.settings.get("models")
    return {"models": models, "judge": judge, "epochs": run.epochs, "iw": iw, "version": VERSION}


def keep(result, args, judge):
    """Write a Result to the folder of its run. Ignore OSError, because the file only saves time."""
    kept = {"basis": _basis(result.run, args, judge), **result._asdict()}
    file = replacing_unlocked(kept.pop("run").folder / "metrics.json")
    with signals_wait(), contextlib.suppress(OSError), file as partial:
        write_json(partial, kept)


def kept_result(run, args, judge=None):
    """Return the stored Result of a run, or None if its models, flags or judge are different.

    If the run has no models, raise UserError instead of returning None. `judge` is a fingerprint.
    For a run without models, it can be None, which fits every judge.
    """
    file, basis, kept = run.folder / "metrics.json", _basis(run, args, judge), {}
    with contextlib.suppress(OSError, UserError):
        kept = read_json(file)
    found = kept.pop("basis", {})
    if run.encoder is None and not judge:
        found["judge"] = judge
    if found == basis:
        return Result(run, **kept)
    if run.encoder is not None:
        return None
    if found | {"judge": judge} == basis:
        raise UserError(
            f"{file} was not measured with the judge in the file judge.keras beside the first "
            "run.\nReplace judge.keras with the judge that measured the run. The judges of "
            "outputs/reference are in outputs/reference/seed0 and, for CIFAR-10, in "
            "outputs/reference/cifar10_64/sum_seed0."
        )
    if found | {"judge": judge, "iw": basis["iw"]} == basis:
        samples, images = found["iw"]
        raise UserError(
            f"{file} was measured with other flags, and the run has no models.\n"
            f"Use --iw-samples {samples} --iw-images {images}."
        )
    raise UserError(
        f"{file} cannot be used, and the run has no models to measure. The file is damaged, "
        "contains another version of the metrics, or belongs to other models.\nRestore the file, "
        "or retrain the run."
    )
