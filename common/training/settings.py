"""Create the settings of a run, and check that they match the settings in a checkpoint."""

import contextlib
import importlib.metadata
import os
import platform

from common.data.batches import passes_per_epoch
from common.devices.determinism import device_name, processor_name
from common.program.errors import UserError
from common.program.flags import as_text, dashed, given
from common.trained import fingerprint_of_losses

PACKAGES = ("keras", "tensorflow", "tensorflow-datasets", "numpy", "matplotlib", "scikit-learn")
# These environment variables affect the rounding errors of TensorFlow
ENVIRONMENT = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# These flags may have other values when a run is resumed. They include the flags that choose the
# data, because the script compares a fingerprint of the images
FREE_FLAGS = {
    "epochs", "dataset", "data_dir", "images", "image_size", "skip_unreadable", "output_dir",
    "plot_every", "replicas", "tensorboard", "fresh",
}  # fmt: skip
ORIGINAL_FILTERS = [32, 64]  # Runs of earlier versions have these filters, but not the flag
# These settings describe the exported models: their epoch, a fingerprint of the models, and a
# fingerprint of the losses. They are missing if a run has not exported any models
ENDED = ("trained_epochs", "models", "losses")


def make_settings(name, args, data):
    """Return the settings of a new run as a dict that can be stored in a JSON file."""
    n, passes = len(data.train_images), passes_per_epoch(len(data.train_images))
    sizes = {"train_images": n, "test_images": len(data.test_images)}
    versions = {package: _version(package) for package in PACKAGES}
    return {
        "model": name,
        "flags": vars(args).copy(),
        "dataset": {"name": data.name, "title": data.title, **sizes}
        | {"image_shape": list(data.image_shape), "fingerprint": data.fingerprint},
        "unreadable_pictures": data.unreadable,
        "epoch": {"batches": passes * (n // args.batch_size), "passes": passes},
        "versions": {"python": platform.python_version(), **versions},
        "device": device_name(),
        "environment": {"processor": processor_name()}
        | {name: os.environ.get(name) for name in ENVIRONMENT},
    }


def _version(package):
    """Return the version of a package, or None if it is not installed under this name."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def of_exported_models(settings):
    """Return those settings in a checkpoint that describe the exported models."""
    found = {name: settings[name] for name in ENDED if name in settings}
    if "models" in found:  # Earlier versions stored the epoch of the models as `epochs`
        found.setdefault("trained_epochs", settings["flags"]["epochs"])
    return found


def mark_ended(settings, run, losses):
    """Add the last epoch, a fingerprint of the models and one of the losses to the settings."""
    ended = len(losses), run.fingerprint, fingerprint_of_losses(losses)
    settings |= dict(zip(ENDED, ended, strict=True))


def refuse_other(folder, there, now):
    """Raise UserError if the settings `there`, from a checkpoint, do not match those of `now`."""
    there, now = _decisive(there), _decisive(now)
    was, is_now = ({k: as_text(value) for k, value in each.items()} for each in (there, now))
    differing = [
        f"{name} was {was.get(name, 'not given')} and is now {is_now.get(name, 'not given')}"
        for name in {**there, **now}
        if there.get(name) != now.get(name) and name != "fingerprint"
    ]
    if there["fingerprint"] != now["fingerprint"]:
        differing.append("the images have changed")
    if differing:
        advice = "Use the same flags, choose another --output-dir, or start over with --fresh."
        problem = f"{folder} contains a run with other settings: {'; '.join(differing)}."
        raise UserError(f"{problem}\n{advice}")


def _decisive(settings):
    """Return the settings that determine the result of a run."""
    flags = {"filters": ORIGINAL_FILTERS} | given(settings["flags"])
    flags = {f"--{dashed(k)}": value for k, value in flags.items() if k not in FREE_FLAGS}
    return flags | {"model": settings.get("model"), **settings["dataset"]}
