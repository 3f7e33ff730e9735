"""Check flags and data before the training, and check numbers during and after the training."""

import os

from common.objectives.flags import milder
from common.program.errors import UserError
from common.trained import active_dimensions

import numpy as np


class DivergedError(UserError):
    """A loss, a weight or a latent vector is infinite or NaN."""

    status = 1


def check_start(args, data, folder):
    """Raise UserError if the flags, the data or the path of the folder prevent the training."""
    n, m = len(data.train_images), len(data.test_images)
    if m < 4:  # Comparisons of runs need three neighbours of each test image
        advice = "Add images. Without a test set, every 7th image is a test image."
        raise UserError(f"{data.title} has {m} test images, but at least 4 are required.\n{advice}")
    if args.batch_size > n:
        size = f"--batch-size {args.batch_size}"
        problem = f"{size} is more than the {n} training images of {data.title}"
        raise UserError(f"{problem}. Use {n} or less.")
    if "[" in str(folder) or (os.sep == "/" and "\\" in str(folder)):
        problem = f"TensorFlow treats [ and \\ as a pattern and finds no checkpoints in {folder}"
        raise UserError(f"{problem}. Choose another --output-dir.")


def check_finite(losses, run, codes, epoch, args):
    """Raise DivergedError if a loss, weight or latent vector of this epoch is infinite or NaN.

    `codes` contains the latent vectors (n, latent_dim) of the test images. It is None if no figures
    will be drawn.
    """
    models = [run.encoder, run.decoder, *[run.prior] * hasattr(run.prior, "weights")]
    weights = [(weight.path, weight.numpy()) for model in models for weight in model.weights]
    named = [*losses.items(), *weights, *[("a latent vector", codes)] * (codes is not None)]
    for name, value in named:
        if not np.isfinite(value).all():
            raise DivergedError(
                f"The training diverged in epoch {epoch}: {name} is infinite or NaN. The checkpoint"
                f" of epoch {epoch - 1} is kept.\nUse --fresh with {milder(args)} or another seed."
            )


def report_inactive_dimensions(mean):
    """Print the number of active latent dimensions if any are inactive. `mean`: (n, latent_dim)."""
    active, latent_dim = active_dimensions(mean), mean.shape[1]
    if active < latent_dim:
        print(
            f"{active} of {latent_dim} latent dimensions are active. In the inactive ones, the "
            "means hardly differ: too little training, or posterior collapse."
        )
