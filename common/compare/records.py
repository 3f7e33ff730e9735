"""Define the metrics of a comparison, with one record per metric."""

from collections.abc import Callable
from typing import NamedTuple

from common.compare import metrics
from common.trained import active_dimensions

import numpy as np

MOST_IMAGES = 10_000  # Some metrics take time proportional to the square of this number
PRIOR_DRAWS = 10_000  # decoded images per run
SURE = 0.9  # The judge is sure of a class if its probability is at least this
GROUPS = ("reconstruction", "likelihood", "latent space", "draws", "beyond the prior")
DECODED = GROUPS[3:]  # The metrics of these groups measure images decoded from random vectors
DRAWN = f"{PRIOR_DRAWS:,} images decoded from draws of the prior"


class Metric(NamedTuple):
    name: str  # as in metrics.json
    group: str  # one of GROUPS
    places: int  # decimal places
    better: str | float | None  # "higher", "lower" or target
    function: Callable  # Computes the metric from the results of `evaluate`
    definition: str  # The text may contain {iw_samples} and {iw_images}, the values of flags
    classes: bool = False  # requires classes
    auxiliary: bool = False  # Such a metric only helps to judge another metric


RECORDS = (  # The tables have their rows in this order
    Metric("mean squared error", "reconstruction", 4, "lower", lambda m: m.reconstruction.error,
        f"Mean squared difference between the pixels of the test images (at most {MOST_IMAGES:,}) "
        "and of their reconstructions, for intensities in [0, 1]. The decoder reconstructs an "
        "image from the mean of q(z|x), or from the MMD-VAE's code. The mean squared error is the "
        "reconstruction loss of mmd_cvae.py."),
    Metric("cross entropy", "reconstruction", 1, "lower", lambda m: m.reconstruction.crossentropy,
        "Binary cross entropy between the test images and their reconstructions in nats per image, "
        "the reconstruction loss of eager_cvae.py. Intensities are clipped to [1e-7, 1 - 1e-7]. "
        "Even perfect reconstructions of grey pixels have a cross entropy above 0."),
    Metric("edges kept", "reconstruction", 3, 1, lambda m: m.reconstruction.edges,
        "Slope of a regression, over all pixels, of the reconstructions' gradients on the test "
        "images' gradients (tf.image.image_gradients). The slope is 1 if all edges are kept, "
        "smaller if edges are blurred, and 0 if edges are elsewhere."),
    Metric("ELBO", "likelihood", 1, "higher", lambda m: m.bounds.elbo.mean(dtype=float),
        "Evidence lower bound of log p(x) in nats per test image (Kingma & Welling 2013, equation "
        "7): log p(x|z) for one z drawn from q(z|x), minus the KL part. The KL part has weight 1 "
        "in this row, whatever its weight in the training. For grey pixels, p(x|z) lacks its "
        "normalizing constant (Loaiza-Ganem & Cunningham 2019)."),
    Metric("KL part of the ELBO", "likelihood", 2, None, lambda m: m.bounds.kl.mean(dtype=float),
        "KL divergence of q(z|x) from the prior in nats per test image: exact for N(0, I) (Kingma "
        "& Welling 2013, appendix B), and estimated from one z per image for a VampPrior."),
    Metric("ELBO, fewer images", "likelihood", 1, "higher",
        lambda m: m.bounds.elbo[: m.args.iw_images].mean(dtype=float),
        "ELBO of the first {iw_images} test images (or all, if there are fewer), for comparison "
        "with the importance-weighted bound.", auxiliary=True),
    Metric("importance-weighted bound", "likelihood", 1, "higher", lambda m: m.bounds.bound.mean(),
        "Lower bound of log p(x) in nats per image, from {iw_samples} samples of z for each of "
        "the first {iw_images} test images. The bound is tighter than the ELBO (Burda, Grosse & "
        "Salakhutdinov 2015)."),
    Metric("its effective samples", "likelihood", 0, None, lambda m: np.median(m.bounds.effective),
        "Effective number (sum w)^2 / sum w^2 of the {iw_samples} importance weights w of an image "
        "(Kong 1992), as the median over the images. If the number is small, for example because "
        "q(z|x) is too narrow, the bound can be far below log p(x).", auxiliary=True),
    Metric("latent mean to 0", "latent space", 2, 0, lambda m: np.linalg.norm(m.centre),
        "Distance between 0 and the mean of the latent vectors, in standard deviations of N(0, I). "
        "The latent vectors are one draw from q(z|x) per test image, or the MMD-VAE's codes."),
    Metric("largest latent sd", "latent space", 2, 1, lambda m: m.sds[-1],
        "Standard deviation of the latent vectors along their first principal axis."),
    Metric("smallest latent sd", "latent space", 2, 1, lambda m: m.sds[0],
        "Standard deviation of the latent vectors along their last principal axis."),
    Metric("KL(latent Gaussian, prior)", "latent space", 3, "lower",
        lambda m: metrics.gaussian_kl(m.centre, m.covariance),
        "KL(N(m, C) || N(0, I)) in nats, where m and C are the mean and the covariance of the "
        "latent vectors (Kullback 1959). N(0, I) is used even if the prior is a VampPrior."),
    Metric("MMD^2 to prior", "latent space", 4, "lower", lambda m: m.mmd[0],
        "Unbiased estimate of the squared maximum mean discrepancy between the latent vectors and "
        "as many draws of the prior (Gretton et al. 2012, Lemma 6). It is about 0 if the two "
        "distributions are equal. Every run is measured with the default kernel of mmd_cvae.py."),
    Metric("its standard error", "latent space", 4, None, lambda m: m.mmd[1],
        "Standard error of MMD^2 to prior, from the variance of a U-statistic (Hoeffding 1948).",
        auxiliary=True),
    Metric("active dimensions", "latent space", 0, None, lambda m: active_dimensions(m.mean),
        "Number of latent dimensions in which the means of the test images have a variance above "
        "0.01 (Burda, Grosse & Salakhutdinov 2015). Inactive dimensions of a CVAE have collapsed "
        "to the prior."),
    Metric("15 neighbours' accuracy", "latent space", 3, "higher",
        lambda m: metrics.neighbour_accuracy(
            m.run.encode(m.data.train_images), m.data.train_labels, m.mean, m.labels),
        "Share of the test images that a vote of the 15 training images with the nearest latent "
        "means classifies correctly (scikit-learn's KNeighborsClassifier).", classes=True),
    Metric("silhouette", "latent space", 3, "higher",
        lambda m: metrics.silhouette(m.mean, m.labels),
        "Silhouette coefficient of the classes in the latent space, from -1 to 1 (Rousseeuw 1987). "
        "It is large if the classes are far apart in comparison with their size.", classes=True),
    Metric("Fréchet distance", "draws", 1, "lower",
        lambda m: metrics.frechet_distance(m.draws.points, m.reference.around.points),
        "Squared Fréchet distance between two Gaussians (Dowson & Landau 1982), which are fitted "
        f"to the test images and to {DRAWN}. Images are represented by 64 features of the judge, a "
        "small classifier. The Fréchet inception distance (Heusel et al. 2017) uses another "
        "network. Only values of the same judge can be compared.", classes=True),
    Metric("precision", "draws", 3, "higher",
        lambda m: metrics.precision(m.draws.points, m.reference.narrow),
        f"Share of {DRAWN} that are in a ball around a test image, in the space of the judge's "
        "features. A ball reaches to the 3rd nearest test image (Kynkäänniemi et al. 2019). Only "
        "the smaller half of the balls is used, so that real images have a precision a little "
        "below 0.5. Without a judge, the features are 50 principal components of the pixels."),
    Metric("coverage", "draws", 3, "higher",
        lambda m: metrics.coverage(m.draws.points, m.reference.around),
        f"Share of the test images whose ball contains at least one of {DRAWN} (Naeem et al. "
        "2020). The balls are those of the precision, but none of them is left out."),
    Metric("classes", "draws", 1, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[0],
        f"Effective number of classes among {DRAWN}: exp(share * entropy). The share is that of "
        "the images of which the judge is sure, and the entropy is that of their classes. The "
        "number is 1 if the judge is never sure. It is the inception score (Salimans et al. 2016) "
        "of a judge that is either certain or has no information.", classes=True),
    Metric("sure", "draws", 3, "higher", lambda m: metrics.sure_classes(m.draws.p, SURE)[1],
        f"Share of {DRAWN} of which the judge is sure, because it gives one class a probability of "
        f"at least {SURE}.", classes=True),
    Metric("edges of draws", "draws", 3, 1,
        lambda m: m.draws.edges.mean(dtype=float) / (m.reference.edges or 1),
        f"Mean length of the gradients in {DRAWN}, divided by that in the test images. Blurred "
        "images have a low ratio, and noise has a high one."),
    Metric("precision, own Gaussian", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.own_draws.points, m.reference.narrow),
        f"Precision of {PRIOR_DRAWS:,} images decoded from draws of a Gaussian instead of the "
        "prior. The Gaussian has the mean and the covariance of the latent vectors."),
    Metric("precision, grid", "beyond the prior", 3, "higher",
        lambda m: metrics.precision(m.grid.points, m.reference.narrow),
        "Precision of the 256 images decoded from the latent grid."),
)  # fmt: skip
METRICS = {m.name: m for m in RECORDS}


def definitions(iw_samples, iw_images):
    """Return the definition of each metric by name, for values of --iw-samples and --iw-images."""
    goals = {None: "", "higher": " Higher is better.", "lower": " Lower is better."}
    flags = {"iw_samples": f"{iw_samples:,}", "iw_images": f"{iw_images:,}"}
    return {
        m.name: m.definition.format(**flags) + goals.get(m.better, f" The target is {m.better}.")
        for m in RECORDS
    }
