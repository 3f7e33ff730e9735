"""Load a finished run: `run = load_run("outputs/fashion_mnist/cvae")`."""

import zipfile
from pathlib import Path

import eager_cvae
import mmd_cvae
from common.devices.determinism import keras_in
from common.objectives.priors import VampPrior
from common.program.command import command_line
from common.program.errors import UserError, reason
from common.program.files import fits, is_text, read_json, regular
from common.program.flags import to_words
from common.trained import Trained

import keras
import numpy as np
import tensorflow as tf

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}  # by the name of a run's folder


def _is_dataset(value):
    """Return whether a JSON value can be the data set in a run's settings."""
    texts = {"name": is_text, "title": is_text, "fingerprint": is_text}
    if not fits(value, texts | {"image_shape": [int]}):
        return False
    shape = value["image_shape"]
    return len(shape) == 3 and 0 < min(shape) <= max(shape) <= 1024


SETTINGS = {"model": str, "flags": dict, "dataset": _is_dataset}  # the form for `read_json`


def load_run(folder):
    """Return the finished run in a folder as a common.trained.Trained.

    Args:
        folder: path of OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd.

    Raises:
        UserError: there is no run, it is not finished, or one of its files is damaged.
    """
    run = read_run(folder)
    script, folder = SCRIPTS[run.model], run.folder
    named = {} if run.flags["images"] else {"dataset": run.flags["dataset"] or run.dataset}
    command = _command(script, run.flags | named, folder)
    if not has_models(run):
        raise UserError(f"The run in {folder} is not finished. To continue it:\n{command}")
    repair = f"To write it again:\n{command}"
    with keras_in(run.flags["dtype"]):
        models = untrained(script, run.flags, run.settings["dataset"]["image_shape"])
        for name, model in models.items():
            _load_weights(model, folder / f"{name}.keras", repair)
    run = Trained(folder, run.settings, models, script.encode, script.decode)
    if run.fingerprint != run.settings.get("models"):
        raise UserError(
            f"The models in {folder} do not match its settings.json. They are damaged or belong to "
            f"another run. {repair}"
        )
    return run


def untrained(script, flags, image_shape):
    """Return the models of a script's run before training, by name. A VampPrior contains zeros."""
    dim, number = flags["latent_dim"], flags.get("vamp_prior")
    encoder, decoder = script.Encoder(dim), script.Decoder(dim, image_shape)
    encoder(tf.zeros((1, *image_shape), keras.config.floatx()))
    decoder(tf.zeros((1, dim), keras.config.floatx()))
    models = {"encoder": encoder, "decoder": decoder}
    return models | ({"prior": VampPrior(number, image_shape)} if number else {})


def has_models(run):
    """Return whether the files of all models of a run exist."""
    names = ["encoder", "decoder", *["prior"] * bool(run.flags.get("vamp_prior"))]
    return all((run.folder / f"{name}.keras").exists() for name in names)


def read_run(folder):
    """Return a run without its models, which can neither encode nor decode. See `load_run`."""
    folder = Path(folder)
    model = folder.resolve().name
    if model not in SCRIPTS:
        raise UserError(
            f"{folder} is not the folder of a run and contains none. Give OUTPUT_DIR/DATASET/cvae "
            "or OUTPUT_DIR/DATASET/mmd."
        )
    script = SCRIPTS[model]
    try:
        settings = read_json(folder / "settings.json", SETTINGS)
    except (FileNotFoundError, NotADirectoryError):
        command = _command(script, {"dataset": folder.resolve().parent.name}, folder)
        raise UserError(f"There is no run in {folder}. To train one:\n{command}") from None
    try:
        if settings["model"] != model:
            raise UserError(f"it belongs to a run of the model {settings['model']!r}")
        settings["flags"] = _check_flags(script, settings["flags"])
    except UserError as error:
        raise UserError(
            f"{folder / 'settings.json'} is damaged: {error}. The command that trained this run "
            "writes it again."
        ) from error
    return Trained(folder, settings)


def _check_flags(script, flags):
    """Return the flags of a run, with defaults for missing ones. Raise UserError if invalid."""
    if unknown := flags.keys() - vars(script.get_args([])):
        raise UserError(f"{min(unknown)!r} is not a flag")
    found = vars(script.get_args(to_words(flags, {})))
    for name, value in found.items():
        if name in flags and (type(flags[name]) is not type(value) or flags[name] != value):
            raise UserError(f"its flag {name} is {str(flags.get(name))[:50]!r}")
    return found


def _command(script, flags, folder):
    """Return the command line that trains a run with these flags in `folder`."""
    inner = folder if len(folder.parts) > 2 else folder.resolve()  # "." has no parents
    flags = {**flags, "output_dir": str(inner.parents[1]), "fresh": None}
    words = to_words(flags, vars(script.get_args([])))
    return command_line(["python", f"{script.__name__}.py", *words])


def _load_weights(model, file, repair):
    """Load the weights of an untrained Keras model from a .keras file, and nothing else.

    Args:
        model: the model, built with the architecture that settings.json describes.
        file: pathlib.Path of the .keras file. Its configuration is ignored.
        repair: advice for the error message.

    Raises:
        UserError: the file is damaged or belongs to a model with another architecture.
    """
    with regular(file).open("rb") as archive:  # given a path, is_zipfile hides PermissionError
        whole = zipfile.is_zipfile(archive)
    if not whole:  # Keras would say that the file does not exist
        raise UserError(f"{file} is damaged: it is not a complete zip archive. {repair}")
    try:
        model.load_weights(file)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # damaged files raise many kinds of exceptions
        what = "damaged, or belongs to a model of another kind or size"
        raise UserError(f"{file} is {what}: {reason(error)}. {repair}") from error
    if not all(np.isfinite(weight.numpy()).all() for weight in model.weights):
        raise UserError(f"{file} is damaged: it has weights that are infinite or NaN. {repair}")
