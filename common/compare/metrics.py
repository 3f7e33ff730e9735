"""What a comparison measures: pure functions of arrays and tensors.

Which of them make up the comparison, and of what data, is evaluate.py's business.
"""

import math
from typing import NamedTuple

from common.losses import compute_kernel, normal_loglik

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import pairwise_distances_chunked
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

KERNEL_ELEMENTS = 2**21  # of compute_kernel's differences at a time: 16 MB in float64


def mean_squared_error(x, preds):
    """Mean over pixels of (x - preds)^2, of (n, height, width, channels): (n,)."""
    return tf.reduce_mean(keras.losses.mean_squared_error(x, preds), axis=(1, 2))


def binary_crossentropy(x, preds):
    """-sum_pixels x log preds + (1 - x) log(1 - preds): (n,), nats an image.

    Both are (n, height, width, channels) intensities in [0, 1]. At its least, where `preds` is `x`,
    it is not 0 but the entropy of the grey pixels. Keras keeps `preds` 1e-7 clear of 0 and 1.
    """
    by_pixel = keras.losses.binary_crossentropy(x, preds)  # mean over channels
    return tf.reduce_sum(by_pixel, axis=(1, 2)) * x.shape[3]


def bernoulli_loglik(x, logits):
    """Log p(x|z), minus the sigmoid cross entropy summed over pixels: (n,), nats per image.

    Of intensities x in [0, 1] and logits, both (n, height, width, channels). The log probability of
    binary pixels; of grey ones, as here and in the original, a density that lacks its normalizing
    constant (Loaiza-Ganem & Cunningham 2019).
    """
    crossentropy_loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits)
    return -tf.reduce_sum(crossentropy_loss, axis=(1, 2, 3))


def normal_kl(mean, logvar):
    """KL(N(mean, exp(logvar)) || N(0, I)), Kingma & Welling (2013), appendix B.

    Of `mean` and `logvar`, (n, latent_dim): (n,) tensor, nats per image.
    """
    return 0.5 * tf.reduce_sum(tf.exp(logvar) + mean**2 - 1 - logvar, axis=1)


def log_weight(z, mean, logvar, logpx_z, mixture):
    """The log of one importance weight, log p(x, z) - log q(z|x): (n,), nats per image.

    Of (n, latent_dim) draws `z` of q(z|x) = N(mean, exp(logvar)) and their log p(x|z), (n,);
    `mixture` makes up the prior, as in priors.py.
    """
    return logpx_z + mixture.log_prob(z) - normal_loglik(z, mean, logvar)


def importance_weighted_bound(draw, samples):
    """The bound log (1/K) sum_k w_k, w_k = p(x, z_k) / q(z_k|x), of Burda, Grosse & Salakhutdinov.

    In expectation a lower bound of log p(x): the ELBO with one sample, the tighter the more (2015,
    equation 8). `draw()` draws z ~ q(z|x) anew and returns its `log_weight`; K is `samples`.

    Returns:
        bound: (n,) float64 array, nats per image.
        effective_samples: (n,), (sum w)^2 / sum w^2 (Kong 1992), from 1, where one weight is all
            of the sum and the bound is not to be trusted to be tight, to K.
    """
    log_sum = log_sum_of_squares = -np.inf
    for _ in range(samples):
        log_weight = np.asarray(draw(), dtype=float)
        log_sum = np.logaddexp(log_sum, log_weight)
        log_sum_of_squares = np.logaddexp(log_sum_of_squares, 2 * log_weight)
    return log_sum - math.log(samples), np.exp(2 * log_sum - log_sum_of_squares)


def gaussian_kl(mean, covariance):
    """KL(N(mean, covariance) || N(0, I)) = (tr C + |m|^2 - dim - log det C) / 2, in nats.

    Of `mean`, (dim,), and `covariance`, (dim, dim); infinite where that is singular.
    """
    sign, logdet = np.linalg.slogdet(covariance)
    if sign <= 0:
        return math.inf
    return float(np.trace(covariance) + mean @ mean - len(mean) - logdet) / 2


def to_gaussian(random_vector, mean, covariance):
    """Draws of N(0, I), (n, dim), turned into draws of N(mean, covariance)."""
    variances, axes = np.linalg.eigh(covariance)
    return mean + (random_vector * np.sqrt(variances.clip(0))) @ axes.T


def unbiased_mmd(x, y):
    """Squared maximum mean discrepancy, the unbiased U-statistic, with `compute_kernel`.

    Of x and y, (n, dim) arrays, n > 2: the estimate and its standard error, without a unit.

    The mean over i != j of h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), Gretton et
    al. (2012), Lemma 6, equation 4: 0 in expectation for two samples of one distribution, so that
    it is negative at times. Its variance is that of any U-statistic, (4 (n - 2) zeta_1 +
    2 zeta_2) / (n (n - 1)), with zeta_1 the variance of h_ij's mean given i and zeta_2 that of h_ij
    (Hoeffding 1948); where zeta_1 is 0, as for equal distributions, the error found is rather too
    large than too small.
    """
    x, y = tf.cast(x, tf.float64), tf.cast(y, tf.float64)
    n, dim = x.shape
    rows = max(1, KERNEL_ELEMENTS // (n * dim))
    sums, squares = np.zeros(n), 0.0
    for first in range(0, n, rows):
        some = slice(first, first + rows)
        h = compute_kernel(x[some], x) + compute_kernel(y[some], y)
        h -= compute_kernel(x[some], y) + compute_kernel(y[some], x)  # (rows, n)
        h = tf.linalg.set_diag(h, tf.zeros(len(h), h.dtype), k=first)
        sums[some] = tf.reduce_sum(h, axis=1)
        squares += float(tf.reduce_sum(h**2))

    pairs = n * (n - 1)
    estimate = sums.sum() / pairs
    zeta_2 = squares / pairs - estimate**2
    # Of the row means' variance, zeta_2 / n is what a mean of n - 1 values has without zeta_1
    zeta_1 = max(0.0, (sums / (n - 1)).var(ddof=1) - zeta_2 / n)
    return float(estimate), math.sqrt((4 * (n - 2) * zeta_1 + 2 * zeta_2) / pairs)


def neighbour_accuracy(train, train_labels, test, test_labels, k=15):
    """Share of test points (m, dim) put into their class by the `k` nearest training points."""
    k = min(k, len(train))
    return float(KNeighborsClassifier(k).fit(train, train_labels).score(test, test_labels))


class Manifold(NamedTuple):
    """Points (n, dim), and around each a ball, of radius (n,)."""

    points: np.ndarray
    radii: np.ndarray


def manifold(points, k=3):
    """Balls that reach to each point's k-th nearest neighbour (Kynkäänniemi et al. 2019, eq. 1)."""
    distances, _ = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()  # (n, k), itself apart
    return Manifold(points, distances[:, -1])


def pruned(around):
    """The half of a manifold's balls that are no wider than the median one.

    Those of outliers are so wide that they hold noise, grey, and the mean of everything, and with
    all balls `precision` calls those better than real images; Kynkäänniemi et al. (2019) leave
    them out for that reason, if only in their realism score.
    """
    kept = around.radii <= np.median(around.radii)
    return Manifold(around.points[kept], around.radii[kept])


def precision(points, around):
    """Share of the points (n, dim) that lie in a ball of the manifold `around`.

    Of decoded images, in the test images' manifold: Kynkäänniemi et al. (2019), equation 2.
    """

    def in_a_ball(distances, _):
        return (distances <= around.radii).any(axis=1)

    chunks = pairwise_distances_chunked(points, around.points, reduce_func=in_a_ball)
    return float(np.concatenate([*chunks]).mean())


def coverage(points, around):
    """Share of the balls of the manifold `around` that hold one or more of the points (n, dim).

    Naeem et al. (2020). It tells what recall is to tell, but needs no balls around decoded images,
    which are wide, and so hold much, where those are rare. Wide balls of outliers do no harm here:
    each counts once.
    """
    distances, _ = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(around.points)
    return float((distances[:, 0] <= around.radii).mean())


def frechet_distance(x, y):
    """Squared Fréchet distance of the Gaussians with the moments of x (n, dim) and y (m, dim).

    |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), Dowson & Landau (1982), as Heusel et al.
    (2017) hold images against images in a classifier's features. In squared units of those.
    """
    (mean_x, c_x), (mean_y, c_y) = (
        (p.mean(axis=0, dtype=float), np.atleast_2d(np.cov(p, rowvar=False, dtype=float)))
        for p in (x, y)
    )
    variances, axes = np.linalg.eigh(c_x)
    root = (axes * np.sqrt(variances.clip(0))) @ axes.T  # tr (C_x C_y)^(1/2) is that of C_x^(1/2)
    cross = np.sqrt(np.linalg.eigvalsh(root @ c_y @ root).clip(0)).sum()  # C_y C_x^(1/2), rooted
    return float(((mean_x - mean_y) ** 2).sum() + np.trace(c_x) + np.trace(c_y) - 2 * cross)


def sure_classes(p, least):
    """How many classes images stand for, and the share of which a judge is sure.

    Of its probabilities p (n, classes), one of which has to be `least` or more, that it be sure.
    The first is exp of the information, in nats, that an image gives of its class, if those that
    are sure tell it and others nothing: the entropy of the sure ones' classes times their share.
    k if all are sure, of k equally frequent classes; 1 if none is, or all of one class. It is the
    inception score of Salimans et al. (2016) for a judge that either knows or has no idea.
    """
    labels = p[p.max(axis=1) >= least].argmax(axis=1)
    _, counts = np.unique(labels, return_counts=True)
    information = -(counts / len(p) * np.log(counts / counts.sum())).sum()
    return float(np.exp(information)), len(labels) / len(p)


def gradient_length(images):
    """Mean length of an image's gradients over its pixels: (n,) of (n, height, width, channels)."""
    dy, dx = tf.image.image_gradients(tf.convert_to_tensor(images))
    return tf.reduce_mean(tf.sqrt(dy * dy + dx * dx), axis=(1, 2, 3)).numpy()


def edges(images, preds):
    """What tells how much of the edges of images comes back in `preds`.

    Of each image, the sum over pixels of the product of both's gradients, and of the square of the
    image's: (n,) each, of (n, height, width, channels). The sum of the ones over the sum of the
    others is the slope of a regression without intercept: 1 if the edges are the same, less for
    blur, 0 for edges that are elsewhere.
    """
    pairs = zip(*map(tf.image.image_gradients, (images, preds)), strict=True)
    products = [(d * e, d * d) for d, e in pairs]
    return tuple(tf.reduce_sum(sum(both), axis=(1, 2, 3)) for both in zip(*products, strict=True))
