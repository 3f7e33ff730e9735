"""The measurements that are kept beside a run, in metrics.json."""

import contextlib

from common.compare.evaluate import Result
from common.program.errors import UserError
from common.program.files import read_json, replacing_unlocked, write_json
from common.program.signals import signals_wait

VERSION = 6  # version of the metrics; measurements of another version are ignored


def _basis(run, args, judge):
    """Return what measurements depend on: models, fingerprint of the judge, flags and version."""
    iw, models = [args.iw_samples, args.iw_images], run.settings.get("models")
    return {"models": models, "judge": judge, "epochs": run.epochs, "iw": iw, "version": VERSION}


def keep(result, args, judge):
    """Write a Result beside its run. If that fails, the next comparison only takes longer."""
    kept = {"basis": _basis(result.run, args, judge), **result._asdict()}
    file = replacing_unlocked(kept.pop("run").folder / "metrics.json")
    with signals_wait(), contextlib.suppress(OSError), file as partial:
        write_json(partial, kept)


def kept_result(run, args, judge=None):
    """Return the Result that an earlier comparison with the same flags kept, or None.

    `judge` is the fingerprint of the judge, or None without classes. For a run without models, None
    stands for any judge, and a UserError is raised instead of returning None.
    """
    file, basis, kept = run.folder / "metrics.json", _basis(run, args, judge), {}
    with contextlib.suppress(OSError, UserError):
        kept = read_json(file)
    found = kept.pop("basis", {})
    if found == basis:
        return Result(run, **kept)
    if run.encoder is not None:
        return None
    if found | {"judge": judge} != basis:
        raise UserError(
            f"{file} cannot be used, and the run has no models to measure. The file is damaged, "
            "of another version, or of other --iw-samples and --iw-images.\nUse the flags with "
            "which it was measured, or retrain the run."
        )
    if judge:
        raise UserError(
            f"{file} was not measured with the judge.keras beside the first run.\nReplace that "
            "file by the judge that was used. For outputs/reference, it is in the folder seed0."
        )
    return Result(run, **kept)
