"""Define the metrics of a comparison, with one record per metric."""

from collections.abc import Callable
from typing import NamedTuple

from common.compare import metrics
from common.trained import active_dimensions

import numpy as np

MOST_IMAGES = 10_000  # The run time of some metrics grows with the square of this number
PRIOR_DRAWS = 10_000  # decoded images per run
SURE = 0.9  # The judge is sure about an image if one class has at least this probability
GROUPS = ("reconstruction", "likelihood", "latent space", "draws", "beyond the prior")
DECODED = GROUPS[3:]  # The metrics of these groups measure images decoded from random vectors
DRAWN = f"{PRIOR_DRAWS:,} images decoded from draws of the prior"


class Metric(NamedTuple):
    name: str  # as in metrics.json
    group: str  # one of GROUPS
    places: int  # decimal places
    better: str | float | None  # "higher", "lower" or target
    function: Callable  # This function computes the metric from the measurements in `evaluate`
    definition: str  # The text may contain the placeholders {iw_samples} and {iw_images}
    classes: bool = False  # requires classes
    auxiliary: bool = False  # True if the metric only helps to interpret another metric


RECORDS = (  # The tables list the metrics in this order
    Metric("mean squared error", "reconstruction", 4, "lower", lambda m: m.reconstruction.error,
        f"Mean squared difference per pixel between the test images (at most {MOST_IMAGES:,}) and "
        "their reconstructions, for intensities in [0, 1]. The VAE's decoder receives the mean of "
        "q(z|x), and the MMD-VAE's decoder receives the code. The mean squared error is the "
        "reconstruction loss of mmd_cvae.py."),
    Metric("cross entropy", "reconstruction", 1, "lower", lambda m: m.reconstruction.crossentropy,
        "Binary cross entropy between the test images and their reconstructions, in nats per "
        "image. It is the reconstruction loss of eager_cvae.py. Intensities are clipped to [1e-7, "
        "1 - 1e-7]. Even perfect reconstructions of grey pixels have a cross entropy above 0."),
    Metric("edges kept", "reconstruction", 3, 1, lambda m: m.reconstruction.edges,
        "Slope of a regression that predicts the gradients of the reconstructions from the "
        "gradients of the test images, over all pixels (tf.image.image_gradients). The slope is 1 "
        "if all edges are kept, smaller if edges are blurred, and 0 if edges are in other places."),
    Metric("ELBO", "likelihood", 1, "higher", lambda m: m.bounds.elbo.mean(dtype=float),
        "Evidence lower bound of log p(x) in nats per test image (Kingma & Welling 2013, equation "
        "7). For one z drawn from q(z|x), it is log p(x|z) minus the KL divergence of q(z|x) from "
        "the prior. In this row, the KL divergence always has the weight 1. For grey pixels, "
        "p(x|z) lacks its normalizing constant (Loaiza-Ganem & Cunningham 2019)."),
    Metric("KL part of the ELBO", "likelihood", 2, None, lambda m: m.bounds.kl.mean(dtype=float),
        "KL divergence of q(z|x) from the prior in nats per test image. It is exact for N(0, I) "
        "(Kingma & Welling 2013, appendix B), and estimated from one z per image for a VampPrior."),
    Metric("ELBO, fewer images", "likelihood", 1, "higher",
        lambda m: m.bounds.elbo[: m.args.iw_images].mean(dtype=float),
        "ELBO of the first {iw_images} test images (or all, if there are fewer), for comparison "
        "with the importance-weighted bound.", auxiliary=True),
    Metric("importance-weighted bound", "likelihood", 1, "higher", lambda m: m.bounds.bound.mean(),
        "Lower bound of log p(x) in nats per image, from {iw_samples} samples of z for each of "
        "the first {iw_images} test images. The bound is tighter than the ELBO (Burda, Grosse & "
        "Salakhutdinov 2015)."),
    Metric("its effective samples", "likelihood", 0, None, lambda m: np.median(m.bounds.effective),
        "Median over the images of the effective sample size (sum w)^2 / sum w^2 (Kong 1992), "
        "where w are the {iw_samples} importance weights of an image. If this size is small, for "
        "example because q(z|x) is too narrow, the bound can be far below log p(x).",
        auxiliary=True),
    Metric("latent mean to 0", "latent space", 2, 0, lambda m: np.linalg.norm(m.centre),
        "Distance between 0 and the mean of the latent vectors, in standard deviations of N(0, I). "
        "The latent vectors are one draw from q(z|x) per test image, or the codes of an MMD-VAE."),
    Metric("largest latent sd", "latent space", 2, 1, lambda m: m.sds[-1],
        "Standard deviation of the latent vectors along their first principal axis."),
    Metric("smallest latent sd", "latent space", 2, 1, lambda m: m.sds[0],
        "Standard deviation of the latent vectors along their last principal axis."),
    Metric("KL(latent Gaussian, prior)", "latent space", 3, "lower",
        lambda m: metrics.gaussian_kl(m.centre, m.covariance),
        "KL(N(m, C) || N(0, I)) in nats, where m and C are the mean and the covariance of the "
        "latent vectors (Kullback 1959). This row uses N(0, I) even if the prior is a VampPrior."),
    Metric("MMD^2 to prior", "latent space", 4, "lower", lambda m: m.mmd[0],
        "Unbiased estimate of the squared maximum mean discrepancy between the latent vectors and "
        "the same number of draws from the prior (Gretton et al. 2012, Lemma 6). The estimate is "
        "about 0 if the two distributions are equal. The kernel is always the default kernel of "
        "mmd_cvae.py."),
    Metric("its standard error", "latent space", 4, None, lambda m: m.mmd[1],
        "Standard error of MMD^2 to prior, from the variance of a U-statistic (Hoeffding 1948).",
        auxiliary=True),
    Metric("active dimensions", "latent space", 0, None, lambda m: active_dimensions(m.mean),
        "Number of latent dimensions in which the means of the test images have a variance above "
        "0.01 (Burda, Grosse & Salakhutdinov 2015). In an inactive dimension of a CVAE, q(z|x) "
        "has collapsed to the prior."),
    Metric("15 neighbours' accuracy", "latent space", 3, "higher",
        lambda m: metrics.neighbour_accuracy(
            m.run.encode(m.data.train_images), m.data.train_labels, m.mean, m.labels),
        "Accuracy of a 15-nearest-neighbours classifier (scikit-learn's KNeighborsClassifier), "
        "which predicts the classes of the test images from their latent means.", classes=True),
    Metric("silhouette", "latent space", 3, "higher",
        lambda m: metrics.silhouette(m.mean, m.labels),
        "Silhouette coefficient of the classes in the latent space, from -1 to 1 (Rousseeuw 1987). "
        "A high value means that the classes are compact and far apart.", classes=True),
    Metric("Fréchet distance", "draws", 1, "lower",
        lambda m: metrics.frechet_distance(m.draws.points, m.reference.around.points),
        "Squared Fréchet distance between two Gaussians (Dowson & Landau 1982). One is fitted to "
        f"the test images, and the other to {DRAWN}. Each image is represented by 64 features from "
        "the judge, a small classifier. The Fréchet inception distance (Heusel et al. 2017) uses "
        "another network. Only values from the same judge can be compared.", classes=True),
    Metric("precision", "draws", 3, "higher",
        lambda m: metrics.precision(m.draws.points, m.reference.narrow),
        f"Share of {DRAWN} that lie in at least one ball around a test image, in the judge's "
        "feature space. Each ball reaches to the 3rd nearest other test image (Kynkäänniemi et al. "
        "2019). Only the smaller half of the balls is used, so the precision of real images is a "
        "little below 0.5. Without a judge, the features are 50 principal components of the "
        "pixels."),
    Metric("coverage", "draws", 3, "higher",
        lambda m: metrics.coverage(m.draws.points, m.reference.around),
        f"Share of the balls around test images that contain at least one of {DRAWN} (Naeem et al. "
        "2020). Each ball reaches to the 3rd nearest other test image."),
    Metric("classes", "draws", 1, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[0],
        f"Effective number of classes among {DRAWN}. It is exp(s * H), where s is the share of "
        "images about which the judge is sure, and H is the entropy of the classes of these "
        "images. If the judge is sure about no image, the metric is 1. It equals the inception "
        "score (Salimans et al. 2016) of a judge that either is certain or knows nothing.",
        classes=True),
    Metric("sure", "draws", 3, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[1],
        f"Share of {DRAWN} for which the judge gives one class a probability of at least {SURE}.",
        classes=True),
    Metric("edges of draws", "draws", 3, 1,
        lambda m: m.draws.edges.mean(dtype=float) / (m.reference.edges or 1),
        f"Mean gradient length in {DRAWN}, divided by the mean gradient length in the test images. "
        "Blurred images have a low ratio, and noise has a high ratio."),
    Metric("precision, own Gaussian", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.own_draws.points, m.reference.narrow),
        f"Precision of {PRIOR_DRAWS:,} images decoded from draws of a Gaussian. The Gaussian "
        "replaces the prior, and has the mean and the covariance of the latent vectors."),
    Metric("precision, grid", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.grid.points, m.reference.narrow),
        "Precision of the 256 images decoded from the latent grid."),
)  # fmt: skip
METRICS = {m.name: m for m in RECORDS}


def definitions(iw_samples, iw_images):
    """Return a dict from metric names to definitions.

    The definitions contain the values of the flags --iw-samples and --iw-images.
    """
    goals = {None: "", "higher": " Higher is better.", "lower": " Lower is better."}
    flags = {"iw_samples": f"{iw_samples:,}", "iw_images": f"{iw_images:,}"}
    return {
        m.name: m.definition.format(**flags) + goals.get(m.better, f" The target is {m.better}.")
        for m in RECORDS
    }
