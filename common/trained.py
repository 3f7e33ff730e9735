"""Finished runs of either script, read back from their folders."""

import hashlib
import json
import shlex
import zipfile
from pathlib import Path
from typing import NamedTuple

import eager_cvae
import mmd_cvae
from common import UserError, reason
from common.data import TITLES

import keras
import numpy as np

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}


class Trained(NamedTuple):
    """A finished run, as its folder has it; without models, if only their metrics were kept."""

    place: Path  # OUTPUT_DIR/DATASET/MODEL
    model: str
    dataset: str
    flags: dict
    encoder: keras.Model | None
    decoder: keras.Model | None
    fingerprint: str | None  # of the models' files

    @property
    def metrics_file(self):
        """Where common/evaluate.py keeps what it measured of the models."""
        return self.place.with_name(f"{self.model}_metrics.json")


def default_runs():
    """The two runs of Fashion-MNIST, or of the one data set that has any, in outputs/."""
    outputs = Path(eager_cvae.get_args([]).output_dir)
    found = [name for name in TITLES if list(outputs.glob(f"{name}/*_settings.json"))]
    if len(found) > 1 and "fashion_mnist" not in found:
        raise UserError(f"{outputs} has runs of {' and '.join(found)}: say which to compare.")
    name = "fashion_mnist" if "fashion_mnist" in found else [*found, "fashion_mnist"][0]
    return [outputs / name / model for model in SCRIPTS]


def read_run(place):
    """The finished run at OUTPUT_DIR/DATASET/MODEL.

    Raises UserError if there is none, if it is not finished or a file of it is damaged.
    """
    place = Path(place)
    folder, model = place.parent, place.name
    file = folder / f"{model}_settings.json"
    if model not in SCRIPTS or not (file.exists() or folder.name in TITLES):
        raise UserError(
            f"{place} is no run: write OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd."
        )
    if not file.exists():
        command = _command(model, {"dataset": folder.name}, folder)
        raise UserError(f"there is no {model} run in {folder}. To train one:\n{command}")
    try:
        settings = json.loads(file.read_text(encoding="utf-8", errors="replace"))
        flags, dataset = settings["flags"], settings["dataset"]["name"]
        numbers = [flags[name] for name in ("epochs", "seed", "latent_dim")]
        if settings["model"] != model or dataset not in TITLES or {*map(type, numbers)} != {int}:
            raise ValueError(f"these are not settings of a {model} run")
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}.") from error
    except (KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file} is damaged: it lacks a whole 'flags' or 'dataset'.") from error
    run = Trained(place, model, dataset, flags, None, None, None)
    files = [folder / f"{model}_{name}.keras" for name in ("encoder", "decoder")]
    if not any(file.exists() for file in files) and run.metrics_file.exists():
        return run
    if not all(file.exists() for file in files):
        command = _command(model, {**flags, "dataset": dataset}, folder)
        raise UserError(
            f"the {model} run in {folder} is not finished: it has no models. To go on:\n{command}"
        )
    kinds = SCRIPTS[model].Encoder, SCRIPTS[model].Decoder
    fingerprint = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    encoder, decoder = (
        _load(*pair, flags["latent_dim"]) for pair in zip(files, kinds, strict=True)
    )
    return run._replace(encoder=encoder, decoder=decoder, fingerprint=fingerprint)


def _load(file, kind, latent_dim):
    if not zipfile.is_zipfile(file):  # Keras would not find it
        raise UserError(f"{file} is damaged: it is no whole zip archive.")
    try:
        model = keras.saving.load_model(file, compile=False)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # bad files raise many kinds
        raise UserError(f"{file} is damaged: {reason(error)}.") from error
    if not isinstance(model, kind) or model.latent_dim != latent_dim:
        raise UserError(
            f"{file} is not what its settings say, {kind.__module__}'s {kind.__name__} with "
            f"{latent_dim} latent dimensions."
        )
    if not all(np.isfinite(weight.numpy()).all() for weight in model.weights):
        raise UserError(f"{file} is damaged: it has weights that are infinite or not a number.")
    return model


def _command(model, flags, folder):
    """The command line that trains a run with these flags in `folder`."""
    script = SCRIPTS[model]
    default = vars(script.get_args([]))
    flags = {**flags, "output_dir": str(folder.parent), "fresh": None}
    words = [
        word
        for name, value in flags.items()
        if value is not None and value != default.get(name)
        for word in (f"--{name.replace('_', '-')}", *([] if value is True else [str(value)]))
    ]
    return shlex.join(["python", f"{script.__name__}.py", *words])
