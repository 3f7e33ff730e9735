"""The metrics of a comparison, one record each: the tables and the files are made from these."""

from collections.abc import Callable
from typing import NamedTuple

from common.compare import metrics
from common.trained import active_dimensions

import numpy as np

MOST_IMAGES = 10_000  # of a test set; some metrics take time proportional to its square
PRIOR_DRAWS = 10_000  # decoded images per run
SURE = 0.9  # the probability of a class from which on the judge counts as sure
# The groups of rows, in the order of the table. Only the CVAE has a likelihood
GROUPS = ("reconstruction", "likelihood", "latent space", "draws", "beyond the prior")


class Metric(NamedTuple):
    """A metric of a run."""

    name: str  # in tables and in metrics.json
    group: str  # one of GROUPS
    places: int  # decimal places in tables
    better: str | float | None  # "higher", "lower", a target, or None if no direction is better
    function: Callable  # from the `evaluate.Measured` of a run to a number
    definition: str  # {iw_samples} and {iw_images} stand for the flags of these names
    classes: bool = False  # whether it requires a data set with classes
    auxiliary: bool = False  # whether it qualifies another metric: then settings are not compared


RECORDS = (  # in the order of metrics.json
    Metric(
        "ELBO", "likelihood", 1, "higher", lambda m: m.bounds.elbo.mean(dtype=float),
        "Evidence lower bound of log p(x) in nats per image: log p(x|z) at one draw z of q(z|x), "
        "minus the KL part in the next row. The weight of the KL part in the training does not "
        "matter (Kingma & Welling 2013, equation 7). For grey pixels, p(x|z) lacks its normalizing "
        "constant (Loaiza-Ganem & Cunningham 2019).",
    ),
    Metric(
        "KL part of the ELBO", "likelihood", 2, None, lambda m: m.bounds.kl.mean(dtype=float),
        "KL divergence of q(z|x) from the prior in nats per image: in closed form for N(0, I) "
        "(Kingma & Welling 2013, appendix B), and estimated from the same draws z for a VampPrior.",
    ),
    Metric(
        "ELBO, fewer images", "likelihood", 1, "higher",
        lambda m: m.bounds.elbo[: m.args.iw_images].mean(dtype=float),
        "The ELBO of the first {iw_images} test images, or of all if there are fewer. It can be "
        "compared with the next row.",
        auxiliary=True,
    ),
    Metric(
        "importance-weighted bound", "likelihood", 1, "higher", lambda m: m.bounds.bound.mean(),
        "Lower bound of log p(x) in nats per image, from {iw_samples} samples for each of the same "
        "{iw_images} images. It is tighter than the ELBO (Burda, Grosse & Salakhutdinov 2015).",
    ),
    Metric(
        "its effective samples", "likelihood", 0, None, lambda m: np.median(m.bounds.effective),
        "Effective number of the {iw_samples} importance weights w of an image, "
        "(sum w)^2 / sum w^2 (Kong 1992); the median over the images. If it is small, for example "
        "because q(z|x) is too narrow, the bound can be far below log p(x).",
        auxiliary=True,
    ),
    Metric(
        "latent mean to 0", "latent space", 2, 0, lambda m: np.linalg.norm(m.centre),
        "Distance from 0 to the mean of the latent vectors, one z ~ q(z|x) per test image (Makhzani "
        "et al. 2015: aggregate posterior). For the MMD-VAE, z is the code. The unit is the "
        "standard deviation of N(0, I).",
    ),
    Metric(
        "largest latent sd", "latent space", 2, 1, lambda m: m.sds[-1],
        "Standard deviation of the same latent vectors along their first principal axis.",
    ),
    Metric(
        "smallest latent sd", "latent space", 2, 1, lambda m: m.sds[0],
        "Standard deviation of the same latent vectors along their last principal axis.",
    ),
    Metric(
        "KL(latent Gaussian, prior)", "latent space", 3, "lower",
        lambda m: metrics.gaussian_kl(m.centre, m.covariance),
        "KL divergence in nats from N(0, I) to the Gaussian that has the mean and the covariance of "
        "the same latent vectors (Kullback 1959). It uses N(0, I) even if the prior is a VampPrior.",
    ),
    Metric(
        "active dimensions", "latent space", 0, None, lambda m: active_dimensions(m.mean),
        "Number of latent dimensions whose mean varies by more than 0.01 over the test images "
        "(Burda, Grosse & Salakhutdinov 2015). The other dimensions carry no information.",
    ),
    Metric(
        "MMD^2 to prior", "latent space", 4, "lower", lambda m: m.mmd[0],
        "Squared maximum mean discrepancy between the same latent vectors and as many draws of the "
        "prior, with the original's kernel for every run; unbiased (Gretton et al. 2012, Lemma 6). "
        "It has no unit. It is about 0 for equal distributions, and it hardly changes any more once "
        "they do not overlap.",
    ),
    Metric(
        "its standard error", "latent space", 4, None, lambda m: m.mmd[1],
        "Standard error of MMD^2 to prior, from the variance of a U-statistic (Hoeffding 1948).",
        auxiliary=True,
    ),
    Metric(
        "15 neighbours' accuracy", "latent space", 3, "higher",
        lambda m: metrics.neighbour_accuracy(
            m.run.encode(m.reference.data.train_images), m.reference.data.train_labels,
            m.mean, m.labels,
        ),
        "Share of the test images whose class is the most frequent one among the 15 training images "
        "with the nearest means (scikit-learn's KNeighborsClassifier).",
        classes=True,
    ),
    Metric(
        "silhouette", "latent space", 3, "higher", lambda m: metrics.silhouette(m.mean, m.labels),
        "Silhouette coefficient of the classes among the means of the test images, from -1 to 1. It "
        "measures how far classes lie apart, whatever the scale (Rousseeuw 1987; scikit-learn).",
        classes=True,
    ),
    Metric(
        "mean squared error", "reconstruction", 4, "lower", lambda m: m.reconstruction.error,
        f"Squared error per pixel of the reconstructed test images (the first {MOST_IMAGES:,} at "
        "most), for intensities in [0, 1]. An image is reconstructed from the mean of q(z|x), or "
        "from the MMD-VAE's code. It is the reconstruction loss of mmd_cvae.py.",
    ),
    Metric(
        "cross entropy", "reconstruction", 1, "lower", lambda m: m.reconstruction.crossentropy,
        "Binary cross entropy of the same reconstructions in nats per image. It is the "
        "reconstruction loss of eager_cvae.py, with intensities clipped to [1e-7, 1 - 1e-7]. For "
        "perfect reconstructions it is not 0, but the entropy of the grey pixels.",
    ),
    Metric(
        "edges kept", "reconstruction", 3, 1, lambda m: m.reconstruction.edges,
        "Slope of the regression of the reconstructions' gradients on those of the test images, "
        "pixel by pixel (tf.image.image_gradients). It is 1 if all edges are kept, smaller if they "
        "are blurred, and 0 if they are in other places.",
    ),
    Metric(
        "edges of draws", "draws", 3, 1,
        lambda m: m.draws.edges.mean(dtype=float) / (m.reference.edges or 1),
        f"Mean length of the gradients in {PRIOR_DRAWS:,} decoded draws of the prior, divided by "
        "that in the test images. It is smaller than 1 for blurred images. Larger is not better: "
        "noise has the largest value.",
    ),
    Metric(
        "precision", "draws", 3, "higher",
        lambda m: metrics.precision(m.draws.points, m.reference.narrow),
        f"Share of {PRIOR_DRAWS:,} decoded draws of the prior that lie near a test image in the "
        "judge's features: in a ball around it that reaches to its 3rd nearest neighbour. Only the "
        "smaller half of the balls counts, so real images have a little less than 0.5 (after "
        "Kynkäänniemi et al. 2019). Without classes, the features are the first 50 principal "
        "components of the pixels.",
    ),
    Metric(
        "coverage", "draws", 3, "higher",
        lambda m: metrics.coverage(m.draws.points, m.reference.around),
        "Share of the test images whose ball contains at least one of the same draws. All balls "
        "count (Naeem et al. 2020).",
    ),
    Metric(
        "Fréchet distance", "draws", 1, "lower",
        lambda m: metrics.frechet_distance(m.draws.points, m.reference.around.points),
        f"Squared Fréchet distance between two Gaussians (Dowson & Landau 1982): those with the "
        f"mean and covariance of {PRIOR_DRAWS:,} decoded draws of the prior and of the test images "
        "in the judge's 64 features. Heusel et al. (2017) use another network, so their numbers "
        "differ. Only values from the same judge can be compared.",
        classes=True,
    ),
    Metric(
        "classes", "draws", 1, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[0],
        "Effective number of classes among the same draws: exp(share * entropy), where share is the "
        "next row and entropy that of the classes of the draws of which the judge is sure. It is at "
        "most the number of classes, and 1 if the judge is never sure. It is the inception score "
        "(Salimans et al. 2016) of a judge that is either certain or has no information.",
        classes=True,
    ),
    Metric(
        "sure", "draws", 3, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[1],
        "Share of the same draws of which the judge is sure, because it gives one class a "
        f"probability of at least {SURE}.",
        classes=True,
    ),
    Metric(
        "precision, own Gaussian", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.own_draws.points, m.reference.narrow),
        f"Precision of {PRIOR_DRAWS:,} decoded draws of the Gaussian that has the mean and "
        "covariance of the latent vectors, in place of the prior.",
    ),
    Metric(
        "precision, grid", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.grid.points, m.reference.narrow),
        "Precision of the 256 decoded points of the latent grid.",
    ),
)  # fmt: skip
METRICS = {m.name: m for m in sorted(RECORDS, key=lambda m: GROUPS.index(m.group))}  # by rows


def applicable(groups, classes):
    """Return the records of some groups for a data set with or without classes (a bool)."""
    return [m for m in RECORDS if m.group in groups and (classes or not m.classes)]


def definitions(iw_samples, iw_images):
    """Return what each metric is, by name, for these values of the flags of `common.compare`."""
    flags = {"iw_samples": f"{iw_samples:,}", "iw_images": f"{iw_images:,}"}
    return {name: f"{m.definition.format(**flags)}{_goal(m)}" for name, m in METRICS.items()}


def _goal(metric):
    """Return a sentence on which values of a metric are better."""
    if metric.better is None:
        return ""
    if isinstance(metric.better, str):
        return f" {metric.better.capitalize()} is better."
    return f" The target is {metric.better}."
