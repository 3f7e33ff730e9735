"""A finished run, to use from Python: `run = load_run("outputs/fashion_mnist/cvae")`."""

import functools
import hashlib
import importlib
import json
import zipfile
from pathlib import Path

from common import priors
from common.cli import command_line
from common.data.batches import to_float
from common.data.sources import load_dataset
from common.devices import in_batches, in_parts, keras_in
from common.files import UserError, fits, is_text, read_json, reason, regular

import keras
import numpy as np
import tensorflow as tf

SCRIPTS = {"cvae": "eager_cvae", "mmd": "mmd_cvae"}  # by the name of a run's folder
LARGEST_CODE = 1e15  # whose squares float32 adds up by the million
MAKE_ANEW = "The command that trained this run makes it anew."


def _is_dataset(value):
    """Whether a JSON value is what a run's settings say of its data set."""
    texts = {"name": is_text, "title": is_text, "fingerprint": is_text}
    if not fits(value, texts | {"image_shape": [int]}):
        return False
    shape = value["image_shape"]
    return len(shape) == 3 and 0 < min(shape) <= max(shape) <= 1024


SETTINGS = {"model": str, "flags": dict, "dataset": _is_dataset}  # read_json's form


class Trained:
    """A finished run.

    Attributes:
        folder: pathlib.Path, OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd.
        model: "cvae" or "mmd".
        flags: dict; flags["epochs"] is the epoch that the models are of.
        settings: dict, all of settings.json, the flags among it.
        dataset, title: name of the data set, in paths and in figures.
        encoder, decoder: Keras models; None where only metrics were kept.
        prior: a priors.PseudoInputs, None where the prior is N(0, I).
    """

    def __init__(self, folder, settings, models=None, encode=None, decode=None):
        """`models` by name; `encode` and `decode` are the script's."""
        self.folder, self.settings = Path(folder), settings
        self.model, self.flags = settings["model"], settings["flags"]
        self.dataset, self.title = settings["dataset"]["name"], settings["dataset"]["title"]
        models = models or {}
        self.encoder, self.decoder = encoder, decoder = models.get("encoder"), models.get("decoder")
        self.prior = models.get("prior")
        dtype = self.flags["dtype"]

        def to_input(images):
            return tf.cast(images, dtype) if images.dtype.kind == "f" else to_float(images, dtype)

        self._encode = by_batch(lambda x: encode(in_parts(encoder), x), to_input)
        to_latent = functools.partial(tf.cast, dtype=dtype)
        self._decode = by_batch(lambda z: decode(in_parts(decoder), z), to_latent)

    def __repr__(self):
        flags = ", ".join(f"{name} {self.flags[name]}" for name in ("epochs", "seed", "latent_dim"))
        return f"<{self.model} run of {self.title} in {self.folder}: {flags}>"

    def encode(self, images):
        """The means of images: float array (n, latent_dim).

        Of images (n, height, width, channels), integers 0 to 255 or floats 0 to 1. Raises
        ValueError for others, or another shape than in training.
        """
        images = np.asarray(images)
        shape = tuple(self.decoder.image_shape)
        if images.ndim != 4 or images.shape[1:] != shape:
            raise ValueError(f"these images are {images.shape}, but should be (n, *{shape})")
        kind, high = images.dtype.kind, 1 if images.dtype.kind == "f" else 255
        if kind not in "fiu" or (images.size and not 0 <= images.min() <= images.max() <= high):
            raise ValueError("images have intensities from 0 to 1, or as integers from 0 to 255")
        return self._encode(images)

    def decode(self, z):
        """Images of latent vectors (n, latent_dim): float array (n, height, width, channels).

        Intensities in [0, 1], of either script. Raises ValueError for another latent dimension.
        """
        z = np.asarray(z, float)
        if z.ndim != 2 or z.shape[1] != self.flags["latent_dim"]:
            shape = f"(n, {self.flags['latent_dim']})"
            raise ValueError(f"these latent vectors are {z.shape}, but should be {shape}")
        return self._decode(z)

    def mixture(self):
        """The Gaussians that make up its prior, as in priors.py; None of N(0, I)."""
        return self.prior and self.prior.mixture(self.encoder)

    def draw(self, n, seed=0):
        """`n` draws of the prior, (n, latent_dim) array. Raises ValueError if n is no number."""
        if not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"{n!r} is no number of draws")
        flags = self.flags
        return priors.sample(n, flags["latent_dim"], seed, flags["dtype"], self.mixture()).numpy()

    def sample(self, n, seed=0):
        """`n` draws of the prior, (n, latent_dim), and their images, as of `decode`."""
        z = self.draw(n, seed)
        return z, self.decode(z)

    def data(self, data_dir=None):
        """Its common.data.sources.Dataset; `data_dir` is the folder to read it from, if moved.

        That is TFDS's, or the folder of pictures. Raises what load_dataset raises, and UserError
        if the images are others than in training.
        """
        flags, images = self.flags, self.flags["images"]
        if images and not data_dir and not Path(images).is_dir():
            raise UserError(
                f"the pictures of {self.title} are no longer in {images}, where the run in "
                f"{self.folder} found them.\nSay where they are with --data-dir."
            )
        data = load_dataset(
            flags["dataset"] or self.dataset, data_dir or flags["data_dir"],
            images and (data_dir or images), flags["image_size"],
        )  # fmt: skip
        if data.fingerprint != self.settings["dataset"]["fingerprint"]:
            raise UserError(
                f"the images of {self.title} have changed since the run in {self.folder} was "
                "trained.\nGive the folder of those with --data-dir, or train it anew."
            )
        return data

    @property
    def fingerprint(self):
        """Of the weights, in hexadecimal."""
        prior = self.prior.weights if self.prior else []
        return fingerprint(self.encoder.weights + self.decoder.weights + prior)


def check_codes(run, z):
    """Raise UserError where a run's codes (n, latent_dim) are too large to calculate with."""
    if not (largest := np.abs(z).max()) < LARGEST_CODE:  # or no number
        raise UserError(
            f"the codes of the run in {run.folder} go up to {largest:.1g}, beyond what can be "
            "measured: its training diverged."
        )


def active_dimensions(mean):
    """How many latent dimensions tell images apart: whose mean varies by more than 0.01 over them.

    Of the means (n, latent_dim) of images; Burda, Grosse & Salakhutdinov (2015), section 4.
    """
    return int((np.var(mean, axis=0) > 0.01).sum())


def fingerprint(weights):
    """Of Keras variables, in hexadecimal."""
    return hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest()


def fingerprint_of_losses(rows):
    """Of the losses of an epoch each, dicts, in hexadecimal: of all but the time that it took."""
    numbers = [[float(v) for name, v in row.items() if name != "seconds"] for row in rows]
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()


def by_batch(function, prepare, size=1000):
    """`function` of prepared rows, `size` at a time; whole batches go through a graph.

    There `in_parts` has several cores to work on.
    """
    graph = tf.function(function, autograph=False)

    def call(rows):
        rows = prepare(rows)
        if not len(rows):  # TensorFlow's convolutions of none have a wrong shape with AVX-512
            one = tf.zeros((1, *rows.shape[1:]), rows.dtype)
            return tf.nest.map_structure(lambda found: found[:0], function(one))
        return (graph if len(rows) == size else function)(rows)

    return lambda rows: in_batches(call, rows, size=size)


def load_run(folder):
    """The finished run in a folder OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd, `Trained`.

    Raises UserError if there is none, if it is not finished, or a file of it is damaged.
    """
    run = read_run(folder)
    script, folder = importlib.import_module(SCRIPTS[run.model]), run.folder
    named = {} if run.flags["images"] else {"dataset": run.flags["dataset"] or run.dataset}
    command = _command(script, run.flags | named, folder)
    if not has_models(run):
        raise UserError(
            f"the run in {folder} has no models; it is not finished. To go on:\n{command}"
        )
    anew = f"To have it made anew:\n{command}"
    with keras_in(run.flags["dtype"]):
        models = untrained(script, run.flags, run.settings["dataset"]["image_shape"])
        for name, model in models.items():
            _load_weights(model, folder / f"{name}.keras", anew)
    run = Trained(folder, run.settings, models, script.encode, script.decode)
    if run.fingerprint != run.settings.get("models"):
        raise UserError(
            f"the models in {folder} are not those that its settings.json is of: files of another "
            f"run, or damaged. {anew}"
        )
    return run


def untrained(script, flags, image_shape):
    """The models of a script's run before training, by name, a prior of zeros among them."""
    dim, number = flags["latent_dim"], flags.get("vamp_prior")
    encoder, decoder = script.Encoder(dim), script.Decoder(dim, image_shape)
    encoder(tf.zeros((1, *image_shape), keras.config.floatx()))
    decoder(tf.zeros((1, dim), keras.config.floatx()))
    models = {"encoder": encoder, "decoder": decoder}
    return models | ({"prior": priors.PseudoInputs(number, image_shape)} if number else {})


def has_models(run):
    """Whether a run's models are all there."""
    names = ["encoder", "decoder", *["prior"] * bool(run.flags.get("vamp_prior"))]
    return all((run.folder / f"{name}.keras").exists() for name in names)


def read_run(folder):
    """`load_run` without the models, of which it needs none: it can neither encode nor decode."""
    folder = Path(folder)
    model = folder.resolve().name
    if model not in SCRIPTS:
        raise UserError(f"{folder} is no run and has none: give OUTPUT_DIR/DATASET/cvae, or mmd.")
    script = importlib.import_module(SCRIPTS[model])
    try:
        settings = read_json(folder / "settings.json", SETTINGS)
    except (FileNotFoundError, NotADirectoryError):
        command = _command(script, {"dataset": folder.resolve().parent.name}, folder)
        raise UserError(f"there is no run in {folder}. To train one:\n{command}") from None
    try:
        if settings["model"] != model:
            raise UserError(f"it is of a run called {settings['model']!r}")
        settings["flags"] = _check_flags(script, settings["flags"])
    except UserError as error:
        raise UserError(f"{folder / 'settings.json'} is damaged: {error}. {MAKE_ANEW}") from error
    return Trained(folder, settings)


def _check_flags(script, flags):
    """`flags`, if they are what the script makes of them; else raise UserError."""
    if unknown := flags.keys() - vars(script.get_args([])):
        raise UserError(f"{min(unknown)!r} is no flag")
    found = vars(script.get_args(_words(flags, {})))
    for name, value in found.items():
        if name in flags and (type(flags[name]) is not type(value) or flags[name] != value):
            raise UserError(f"its flag {name} is {str(flags.get(name))[:50]!r}")
    return found


def given(flags):
    """A run's flags, but those that are None or False: 0 is a value, as of --alpha."""
    return {k: v for k, v in flags.items() if v is not None and v is not False}


def dashed(name):
    """A flag's name as one types it: vamp-prior of vamp_prior."""
    return name.replace("_", "-")


def _words(flags, default):
    """A command line of the flags that are given, but those as in `default`."""
    flags = {k: v for k, v in given(flags).items() if v != default.get(k)}
    return [f"--{dashed(k)}" + ("" if v is True else f"={v}") for k, v in flags.items()]


def _command(script, flags, folder):
    """The command line that trains a run with these flags in `folder`."""
    inner = folder if len(folder.parts) > 2 else folder.resolve()  # "." has no parents
    flags = {**flags, "output_dir": str(inner.parents[1]), "fresh": None}
    words = _words(flags, vars(script.get_args([])))
    return command_line(["python", f"{script.__name__}.py", *words])


def _load_weights(model, file, anew):
    """Give an untrained Keras model the weights in a .keras file, and take nothing else from there.

    Its configuration could say anything. Raises UserError unless the file is whole, and of such a
    model; `anew` says how to have it made anew.
    """
    with regular(file).open("rb") as archive:  # of a path is_zipfile hides that it may not be read
        whole = zipfile.is_zipfile(archive)
    if not whole:  # Keras would not find it
        raise UserError(f"{file} is damaged: it is no whole zip archive. {anew}")
    try:
        model.load_weights(file)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # bad files raise many kinds
        what = "damaged, or of a model of another kind or size"
        raise UserError(f"{file} is {what}: {reason(error)}. {anew}") from error
    if not all(np.isfinite(weight.numpy()).all() for weight in model.weights):
        raise UserError(
            f"{file} is damaged: it has weights that are infinite or not a number. {anew}"
        )
