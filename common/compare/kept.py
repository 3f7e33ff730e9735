"""The measurements that are kept beside a run, in metrics.json."""

import contextlib

from common.compare.evaluate import Result
from common.compare.records import GROUPS, METRICS, applicable
from common.program.errors import UserError
from common.program.files import read_json, replacing_unlocked, write_json
from common.program.signals import signals_wait

VERSION = 6  # of the metrics; measurements of another version are ignored


def _basis(run, args, judge):
    """Return what measurements depend on: models, fingerprint of the judge, flags and version."""
    iw, models = [args.iw_samples, args.iw_images], run.settings.get("models")
    return {"models": models, "judge": judge, "epochs": run.epochs, "iw": iw, "version": VERSION}


def keep(result, args, judge):
    """Write a Result beside its run, if possible: it only saves time later."""
    kept = {"basis": _basis(result.run, args, judge), **result._asdict()}
    del kept["run"]
    file = replacing_unlocked(result.run.folder / "metrics.json")
    with contextlib.suppress(OSError), signals_wait(), file as partial:
        write_json(partial, kept)


def kept_result(run, args, judge=None):
    """Return the Result that an earlier comparison with the same flags kept, or None.

    `judge` is the fingerprint of the judge, or None without classes. A run without models may have
    fewer metrics, and None stands for any judge. If nothing usable is kept of it, raise UserError.
    """
    file, basis, alone = run.folder / "metrics.json", _basis(run, args, judge), run.encoder is None
    groups = [group for group in GROUPS if group != "likelihood" or run.model == "cvae"]
    names = {m.name for m in applicable(groups, judge or alone)}
    found = None
    with contextlib.suppress(OSError, UserError):
        kept = read_json(file)
        values, mean, covariance = kept["values"], kept["latent_mean"], kept["latent_covariance"]
        if alone:
            basis["judge"] = kept["basis"].get("judge")
            names &= values.keys()
        if values.keys() == names and kept["basis"] == basis:
            found = Result(
                run,
                {name: float(values[name]) for name in METRICS if name in values},
                mean,
                covariance,
            )
    if alone and found is None:
        raise UserError(
            f"{file} cannot be used, and the run has no models to measure. The file is damaged, "
            "of another version, or of other --iw-samples and --iw-images.\nUse the flags with "
            "which it was measured, or retrain the run."
        )
    if found and judge and basis["judge"] != judge:
        raise UserError(
            f"{file} was measured with another judge than the judge.keras beside the first run.\n"
            "Replace judge.keras by that judge. The judges of outputs/reference are in its seed0/."
        )
    return found
