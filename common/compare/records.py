"""The metrics of a comparison, one record each. Tables, files and READMEs are made from them."""

from collections.abc import Callable
from typing import NamedTuple

from common.compare import metrics
from common.trained import active_dimensions

import numpy as np

MOST_IMAGES = 10_000  # of a test set; some metrics take time proportional to its square
PRIOR_DRAWS = 10_000  # decoded images per run
SURE = 0.9  # the judge is sure of a class from this probability on
# The groups of rows, in the order of the table. Only the CVAE has a likelihood
GROUPS = ("reconstruction", "likelihood", "latent space", "draws", "beyond the prior")
DECODED = GROUPS[3:]  # the rows about images decoded from random latent vectors


class Metric(NamedTuple):
    name: str  # in tables and in metrics.json
    group: str  # one of GROUPS
    places: int  # decimal places in tables
    better: str | float | None  # "higher", "lower", a target value, or None
    function: Callable  # from what evaluate.py has measured to a number
    definition: str  # {iw_samples} and {iw_images} stand for the flags of these names
    classes: bool = False  # whether it requires images with classes
    auxiliary: bool = False  # whether it only helps to judge another row


RECORDS = (  # in the order of the table
    Metric("mean squared error", "reconstruction", 4, "lower", lambda m: m.reconstruction.error,
        f"Squared error per pixel of the reconstructed test images (at most {MOST_IMAGES:,}), for "
        "intensities in [0, 1]. An image is reconstructed from the mean of q(z|x) or the MMD-VAE's "
        "code. It is the reconstruction loss of mmd_cvae.py."),
    Metric("cross entropy", "reconstruction", 1, "lower", lambda m: m.reconstruction.crossentropy,
        "Binary cross entropy of these reconstructions in nats per image, the reconstruction loss "
        "of eager_cvae.py. Intensities are clipped to [1e-7, 1 - 1e-7]. Perfect reconstructions "
        "have the entropy of the grey pixels."),
    Metric("edges kept", "reconstruction", 3, 1, lambda m: m.reconstruction.edges,
        "Slope of the regression of the reconstructions' gradients on those of the test images, "
        "pixel by pixel (tf.image.image_gradients): 1 if all edges are kept, less if they are "
        "blurred, 0 if they are elsewhere."),
    Metric("ELBO", "likelihood", 1, "higher", lambda m: m.bounds.elbo.mean(dtype=float),
        "Evidence lower bound of log p(x) in nats per test image: log p(x|z) at one z ~ q(z|x), "
        "minus the KL part below, whatever its weight in the training (Kingma & Welling 2013, "
        "equation 7). For grey pixels, p(x|z) lacks its normalizing constant (Loaiza-Ganem & "
        "Cunningham 2019)."),
    Metric("KL part of the ELBO", "likelihood", 2, None, lambda m: m.bounds.kl.mean(dtype=float),
        "KL divergence of q(z|x) from the prior in nats per image: in closed form for N(0, I) "
        "(Kingma & Welling 2013, appendix B), estimated at the same z for a VampPrior."),
    Metric("ELBO, fewer images", "likelihood", 1, "higher",
        lambda m: m.bounds.elbo[: m.args.iw_images].mean(dtype=float),
        "ELBO of the first {iw_images} test images (or all, if there are fewer), for comparison "
        "with the importance-weighted bound.", auxiliary=True),
    Metric("importance-weighted bound", "likelihood", 1, "higher", lambda m: m.bounds.bound.mean(),
        "Lower bound of log p(x) in nats per image, from {iw_samples} samples for each of the same "
        "{iw_images} images. It is tighter than the ELBO (Burda, Grosse & Salakhutdinov 2015)."),
    Metric("its effective samples", "likelihood", 0, None, lambda m: np.median(m.bounds.effective),
        "Effective number (sum w)^2 / sum w^2 of the {iw_samples} importance weights w of an image "
        "(Kong 1992); median over the images. If it is small, for example because q(z|x) is too "
        "narrow, the bound can be far below log p(x).", auxiliary=True),
    Metric("latent mean to 0", "latent space", 2, 0, lambda m: np.linalg.norm(m.centre),
        "Distance between 0 and the mean of the latent vectors: one z ~ q(z|x) per test image, or "
        "the MMD-VAE's code. The unit is the standard deviation of N(0, I)."),
    Metric("largest latent sd", "latent space", 2, 1, lambda m: m.sds[-1],
        "Standard deviation of these latent vectors along their first principal axis."),
    Metric("smallest latent sd", "latent space", 2, 1, lambda m: m.sds[0],
        "Standard deviation of these latent vectors along their last principal axis."),
    Metric("KL(latent Gaussian, prior)", "latent space", 3, "lower",
        lambda m: metrics.gaussian_kl(m.centre, m.covariance),
        "KL(N(m, C) || N(0, I)) in nats, where m and C are the mean and the covariance of these "
        "latent vectors (Kullback 1959). It uses N(0, I) even if the prior is a VampPrior."),
    Metric("MMD^2 to prior", "latent space", 4, "lower", lambda m: m.mmd[0],
        "Squared maximum mean discrepancy, without unit, between these latent vectors and as many "
        "draws of the prior; unbiased (Gretton et al. 2012, Lemma 6). Every run is measured with "
        "the original's kernel. It is about 0 if the distributions are equal."),
    Metric("its standard error", "latent space", 4, None, lambda m: m.mmd[1],
        "Standard error of MMD^2 to prior (variance of a U-statistic, Hoeffding 1948).",
        auxiliary=True),
    Metric("active dimensions", "latent space", 0, None, lambda m: active_dimensions(m.mean),
        "Number of latent dimensions whose mean varies by more than 0.01 over the test images "
        "(Burda, Grosse & Salakhutdinov 2015). The other dimensions have collapsed to the prior."),
    Metric("15 neighbours' accuracy", "latent space", 3, "higher",
        lambda m: metrics.neighbour_accuracy(
            m.run.encode(m.data.train_images), m.data.train_labels, m.mean, m.labels),
        "Share of the test images classified correctly by a vote of the 15 training images with "
        "the nearest means (scikit-learn's KNeighborsClassifier).", classes=True),
    Metric("silhouette", "latent space", 3, "higher",
        lambda m: metrics.silhouette(m.mean, m.labels),
        "Silhouette coefficient of the classes among the test images' means, from -1 to 1. It is "
        "large if the classes lie far apart, at any scale (Rousseeuw 1987).", classes=True),
    Metric("Fréchet distance", "draws", 1, "lower",
        lambda m: metrics.frechet_distance(m.draws.points, m.reference.around.points),
        "Squared Fréchet distance between the Gaussians with the mean and covariance of "
        f"{PRIOR_DRAWS:,} images decoded from draws of the prior, and of the test images, in the "
        "judge's 64 features (Dowson & Landau 1982). Heusel et al. (2017) use another network. "
        "Only values of the same judge can be compared.", classes=True),
    Metric("precision", "draws", 3, "higher",
        lambda m: metrics.precision(m.draws.points, m.reference.narrow),
        f"Share of the same {PRIOR_DRAWS:,} images that are near a test image in the judge's "
        "features: in a ball around it that reaches to its 3rd nearest neighbour. Only the smaller "
        "half of the balls is used, so that real images have a little less than 0.5 (after "
        "Kynkäänniemi et al. 2019). Without classes, the features are 50 principal components of "
        "the pixels."),
    Metric("coverage", "draws", 3, "higher",
        lambda m: metrics.coverage(m.draws.points, m.reference.around),
        f"Share of the test images whose ball contains one or more of the same {PRIOR_DRAWS:,} "
        "images. All balls are used (Naeem et al. 2020)."),
    Metric("classes", "draws", 1, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[0],
        f"Effective number of classes among the same {PRIOR_DRAWS:,} images: exp(share * entropy), "
        "where share is the row below, and entropy is that of the classes of the images of which "
        "the judge is sure. It is 1 if the judge is never sure. It is the inception score "
        "(Salimans et al. 2016) of a judge that is either certain or has no information.",
        classes=True),
    Metric("sure", "draws", 3, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[1],
        f"Share of the same {PRIOR_DRAWS:,} images of which the judge is sure: it gives one class "
        f"a probability of {SURE} or more.", classes=True),
    Metric("edges of draws", "draws", 3, 1,
        lambda m: m.draws.edges.mean(dtype=float) / (m.reference.edges or 1),
        f"Mean length of the gradients in {PRIOR_DRAWS:,} images decoded from draws of the prior, "
        "divided by that in the test images. Blurred images have less, and noise has the most."),
    Metric("precision, own Gaussian", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.own_draws.points, m.reference.narrow),
        f"Precision of {PRIOR_DRAWS:,} images decoded from draws of the Gaussian with the mean and "
        "the covariance of the latent vectors, instead of the prior."),
    Metric("precision, grid", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.grid.points, m.reference.narrow),
        "Precision of the 256 images of the latent grid."),
)  # fmt: skip
METRICS = {m.name: m for m in RECORDS}


def definitions(iw_samples, iw_images):
    """Return the definition of each metric by name, for values of the flags of common.compare."""
    goals = {None: "", "higher": " Higher is better.", "lower": " Lower is better."}
    flags = {"iw_samples": f"{iw_samples:,}", "iw_images": f"{iw_images:,}"}
    return {
        m.name: m.definition.format(**flags) + goals.get(m.better, f" The target is {m.better}.")
        for m in RECORDS
    }
