"""Load a finished run: `run = load_run("outputs/fashion_mnist/cvae")`."""

from pathlib import Path

import eager_cvae
import mmd_cvae
from common.devices.determinism import keras_in
from common.objectives.priors import VampPrior
from common.program.errors import UserError, reason
from common.program.files import read_json
from common.program.flags import command_line, to_words
from common.trained import Trained

import keras
import tensorflow as tf

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}  # The folder of a run has one of these names


def load_run(folder):
    """Return the finished run in a folder as a common.trained.Trained.

    Args:
        folder: path of OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd.

    Raises:
        UserError: there is no run, it is not finished, or one of its files is damaged.
    """
    run = read_run(folder)
    script, folder, flags = SCRIPTS[run.model], run.folder, run.flags
    named = {} if flags["images"] else {"dataset": flags["dataset"] or run.dataset}
    command = _command(script, flags | named, folder)
    if not has_models(run):
        if not (folder / "checkpoints").is_dir():
            new = Path("outputs/again", *folder.resolve().parts[-2:])
            elsewhere = _command(script, flags | named, new)
            raise UserError(
                f"{folder} contains neither models nor checkpoints. To train the run again in a "
                f"new folder:\n{elsewhere}"
            )
        raise UserError(f"The run in {folder} is not finished. To continue it:\n{command}")
    repair = f"To write it again:\n{command}"
    with keras_in(flags["dtype"]):
        models = untrained(script, flags, run.settings["dataset"]["image_shape"])
        for name, model in models.items():
            file = folder / f"{name}.keras"
            try:
                model.load_weights(file)  # This ignores the configuration in the file
            except (MemoryError, PermissionError):
                raise
            except Exception as error:  # Damaged files raise many kinds of exceptions
                raise UserError(
                    f"{file} is damaged, or belongs to a model of another kind or size: "
                    f"{reason(error)}. {repair}"
                ) from error
    run = Trained(folder, run.settings, models, script.encode, script.decode)
    if run.fingerprint != run.settings.get("models"):
        raise UserError(
            f"The models in {folder} do not match its settings.json. They are damaged or belong to "
            f"another run. {repair}"
        )
    return run


def untrained(script, flags, image_shape):
    """Return the models of a script before training, by name. Pseudo-inputs are zeros."""
    dim, number = flags["latent_dim"], flags.get("vamp_prior")
    filters = flags["filters"]
    encoder, decoder = script.Encoder(dim, filters), script.Decoder(dim, image_shape, filters)
    encoder(tf.zeros((1, *image_shape), keras.config.floatx()))  # creates the weights
    decoder(tf.zeros((1, dim), keras.config.floatx()))
    models = {"encoder": encoder, "decoder": decoder}
    return models | ({"prior": VampPrior(number, image_shape)} if number else {})


def has_models(run):
    """Return whether the files of all models of a run exist."""
    names = ["encoder", "decoder", *["prior"] * bool(run.flags.get("vamp_prior"))]
    return all((run.folder / f"{name}.keras").exists() for name in names)


def read_run(folder):
    """Return the run in a folder without loading its models, which `encode` and `decode` need."""
    folder = Path(folder)
    model, file = folder.resolve().name, folder / "settings.json"
    if model not in SCRIPTS:
        inner = [str(folder / name) for name in SCRIPTS if (folder / name).is_dir()]
        valid = " or ".join(inner or [f"OUTPUT_DIR/DATASET/{name}" for name in SCRIPTS])
        raise UserError(f"{folder} is not the folder of a run. Give {valid}.")
    script, again = SCRIPTS[model], "To write it again, repeat the command that trained the run."
    try:
        settings = read_json(file)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "checkpoints").is_dir():
            raise UserError(f"{file} is missing. {again}") from None
        command = _command(script, {"dataset": folder.resolve().parent.name}, folder)
        raise UserError(f"There is no run in {folder}. To train one:\n{command}") from None
    if settings["model"] != model:
        raise UserError(f"{file} belongs to a run of the model {settings['model']!r}. {again}")
    # Flags that are newer than the run have their default values
    settings["flags"] = vars(script.get_args([])) | settings["flags"]
    return Trained(folder, settings)


def _command(script, flags, folder):
    """Return the command line that trains a run with these flags in `folder`."""
    inner = folder if len(folder.parts) > 2 else folder.resolve()  # "." has no parents
    flags = {**flags, "output_dir": str(inner.parents[1]), "fresh": None}
    words = to_words(flags, vars(script.get_args([])))
    return command_line(["python", f"{script.__name__}.py", *words])
