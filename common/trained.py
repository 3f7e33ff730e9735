"""Use a finished run: encode images, decode latent vectors, and draw from its prior."""

import hashlib
import json
from pathlib import Path

from common.data.batches import to_float
from common.data.sources import load_dataset
from common.devices.parts import FEW_PARTS, compiled, in_batches, in_parts
from common.objectives.priors import StandardNormal
from common.program.errors import UserError

import numpy as np
import tensorflow as tf

LARGEST_CODE = 1e15  # float32 sums of millions of squares are inaccurate for larger values


class Trained:
    """Represent a finished run with its settings, models and data.

    Attributes:
        folder: pathlib.Path, OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd.
        model: "cvae" or "mmd".
        settings: dict, the content of settings.json.
        flags: dict, the flags of the training, part of the settings.
        dataset, title: the name of the data set in paths and in figures.
        encoder, decoder: Keras models; None if only metrics were kept.
        prior: a StandardNormal or a VampPrior (common.objectives.priors).
    """

    def __init__(self, folder, settings, models=None, encode=None, decode=None):
        """Store the settings and models of a run, and its functions encode and decode."""
        self.folder, self.settings = Path(folder), settings
        self.model, self.flags = settings["model"], settings["flags"]
        self.dataset, self.title = settings["dataset"]["name"], settings["dataset"]["title"]
        models = models or {}
        self.encoder, self.decoder = encoder, decoder = models.get("encoder"), models.get("decoder")
        self.prior = models.get("prior", StandardNormal())
        self._encode = compiled(lambda x: encode(in_parts(encoder, FEW_PARTS), x))
        self._decode = compiled(lambda z: decode(in_parts(decoder, FEW_PARTS), z))

    def __repr__(self):
        flags = ", ".join(f"{name} {self.flags[name]}" for name in ("seed", "latent_dim"))
        return f"<{self.model} run of {self.title} in {self.folder}: {self.epochs} epochs, {flags}>"

    @property
    def epochs(self):
        """Return the number of epochs for which the models were trained."""
        # Earlier versions stored this number as the flag --epochs
        return self.settings.get("trained_epochs", self.flags["epochs"])

    def encode(self, images):
        """Return the encoder's means (n, latent_dim) for images (n, height, width, channels).

        The images are integers from 0 to 255 or floats from 0 to 1. Raises ValueError for other
        values, or if the shape is not that of the training images.
        """
        images, dtype = np.asarray(images), self.flags["dtype"]
        if images.shape[1:] != (shape := tuple(self.decoder.image_shape)):
            expected = ", ".join(map(str, ("n", *shape)))
            raise ValueError(f"images must have the shape ({expected}), but have {images.shape}")
        kind, high = images.dtype.kind, 1 if images.dtype.kind == "f" else 255
        if kind not in "fiu" or (images.size and not 0 <= images.min() <= images.max() <= high):
            raise ValueError("images must be floats from 0 to 1 or integers from 0 to 255")
        to_input = tf.cast if kind == "f" else to_float
        return in_batches(lambda batch: self._encode(to_input(batch, dtype)), images)

    def decode(self, z):
        """Return the images (n, height, width, channels) decoded from vectors z (n, latent_dim).

        The images are floats in [0, 1]. Raises ValueError if z has another shape.
        """
        z, dim = np.asarray(z, float), self.flags["latent_dim"]
        if z.shape[1:] != (dim,):
            raise ValueError(f"latent vectors must have the shape (n, {dim}), but have {z.shape}")
        return in_batches(lambda batch: self._decode(tf.cast(batch, self.flags["dtype"])), z)

    def mixture(self):
        """Return the prior as a distribution: a StandardNormal, or a Mixture for a VampPrior."""
        return self.prior.distribution(self.encoder)

    def centres(self):
        """Return the means (K, latent_dim) of the Gaussians of a VampPrior, or None for N(0, I)."""
        mixture = self.mixture()
        return None if isinstance(mixture, StandardNormal) else mixture.mean.numpy()

    def draw(self, n, seed=0):
        """Return `n` draws (n, latent_dim) from the prior. Raise ValueError if n is invalid."""
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 0:
            raise ValueError(f"the number of draws must be 0 or a positive integer, but is {n!r}")
        flags = self.flags
        return self.mixture().sample(n, flags["latent_dim"], seed, flags["dtype"]).numpy()

    def sample(self, n, seed=0):
        """Return `n` draws (n, latent_dim) from the prior, and the images decoded from them."""
        z = self.draw(n, seed)
        return z, self.decode(z)

    def data(self, data_dir=None):
        """Return the data set of the run as a common.data.sources.Dataset object.

        If the folder of TFDS or of the pictures was moved, `data_dir` is its new path. Raises
        UserError if the images are not found or have changed since the training.
        """
        flags, images = self.flags, self.flags["images"]
        if images and not data_dir and not Path(images).is_dir():
            raise UserError(
                f"The pictures of the run in {self.folder} are no longer in {images}.\n"
                "Give their new folder with --data-dir."
            )
        data = load_dataset(
            flags["dataset"] or self.dataset, data_dir or flags["data_dir"],
            images and (data_dir or images), flags["image_size"],
            flags["skip_unreadable"], len(flags["filters"]),
        )  # fmt: skip
        if data.fingerprint != self.settings["dataset"]["fingerprint"]:
            raise UserError(
                f"The images of {self.title} have changed since the run in {self.folder} was "
                "trained.\nGive the original folder with --data-dir, or retrain the run."
            )
        return data

    @property
    def fingerprint(self):
        """Return a hexadecimal digest of the weights of all models."""
        prior = getattr(self.prior, "weights", [])
        return fingerprint(self.encoder.weights + self.decoder.weights + prior)


def check_codes(run, z):
    """Raise UserError if latent vectors (n, latent_dim) of a run are too large for the metrics."""
    if not (largest := np.abs(z).max()) < LARGEST_CODE:  # The condition is also true for NaN
        raise UserError(
            f"The latent vectors of the run in {run.folder} are as large as {largest:.1g}, because "
            "its training diverged. Leave out this run."
        )


def active_dimensions(mean):
    """Return the number of latent dimensions whose means (n, latent_dim) have a variance over 0.01.

    Source: Burda, Grosse & Salakhutdinov (2015), section 4.
    """
    return int((np.var(mean, axis=0) > 0.01).sum())


def fingerprint(weights):
    """Return a hexadecimal digest of the values of Keras variables."""
    return hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights)).hexdigest()


def fingerprint_of_losses(rows):
    """Return a hexadecimal digest of the losses. Training times do not change the digest."""
    numbers = [[float(v) for name, v in row.items() if name != "seconds"] for row in rows]
    return hashlib.sha256(json.dumps(numbers).encode()).hexdigest()
