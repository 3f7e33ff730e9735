"""Load a finished run: `run = load_run("outputs/fashion_mnist/cvae")`."""

from pathlib import Path

import eager_cvae
import mmd_cvae
from common.devices.determinism import keras_in
from common.objectives.priors import VampPrior
from common.program.command import command_line
from common.program.errors import UserError, reason
from common.program.files import read_json
from common.program.flags import to_words
from common.trained import Trained

import keras
import tensorflow as tf

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}  # by the name of a run's folder


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
        settings = read_json(folder / "settings.json")
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "checkpoints").is_dir():
            raise UserError(
                f"{folder / 'settings.json'} is missing. The command that trained this run writes "
                "it again."
            ) from None
        command = _command(script, {"dataset": folder.resolve().parent.name}, folder)
        raise UserError(f"There is no run in {folder}. To train one:\n{command}") from None
    if settings["model"] != model:
        raise UserError(
            f"{folder / 'settings.json'} belongs to a run of the model {settings['model']!r}. The "
            "command that trained this run writes it again."
        )
    defaults = vars(script.get_args([]))  # for flags that are newer than the run
    settings["flags"] = defaults | settings["flags"]
    return Trained(folder, settings)


def _command(script, flags, folder):
    """Return the command line that trains a run with these flags in `folder`."""
    inner = folder if len(folder.parts) > 2 else folder.resolve()  # "." has no parents
    flags = {**flags, "output_dir": str(inner.parents[1]), "fresh": None}
    words = to_words(flags, vars(script.get_args([])))
    return command_line(["python", f"{script.__name__}.py", *words])


def _load_weights(model, file, repair):
    """Load the weights of an untrained Keras model from a .keras file, and nothing else.

    Raises UserError, with the advice `repair`, if the file does not fit the model.
    """
    try:
        model.load_weights(file)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # damaged files raise many kinds of exceptions
        what = "damaged, or belongs to a model of another kind or size"
        raise UserError(f"{file} is {what}: {reason(error)}. {repair}") from error
