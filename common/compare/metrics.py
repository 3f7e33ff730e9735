"""Compute the metrics of a comparison from arrays and tensors.

Images `x` and reconstructions `preds` are tensors (n, height, width, channels) with intensities in
[0, 1]. Functions of images return one number per image. `points` are arrays (n, dim).
"""

import math
from collections import namedtuple
from functools import partial

from common.losses import normal_loglik

import keras
import numpy as np
import tensorflow as tf
from sklearn.metrics import pairwise_distances_chunked, silhouette_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

KERNEL_ELEMENTS = 2**21  # at most, 16 MB
Manifold = namedtuple("Manifold", "points radii")  # (n, dim), (n,)


def binary_crossentropy(x, preds):
    """Return the cross entropy in nats per image. Keras clips `preds` to [1e-7, 1 - 1e-7]."""
    by_pixel = keras.losses.binary_crossentropy(x, preds)  # (n, height, width)
    return tf.reduce_sum(by_pixel, axis=(1, 2)) * x.shape[3]


def edges(x, preds):
    """Return sum(dx * dpreds) and sum(dx * dx) per image, where d denotes the gradient."""
    pairs = zip(*map(tf.image.image_gradients, (x, preds)), strict=True)
    products = [(d * e, d * d) for d, e in pairs]
    return tuple(tf.reduce_sum(sum(both), axis=(1, 2, 3)) for both in zip(*products, strict=True))


def gradient_length(images):
    """Return the mean length of the pixel gradients in each image, as a NumPy array."""
    dy, dx = tf.image.image_gradients(tf.convert_to_tensor(images))
    return tf.reduce_mean(tf.sqrt(dy * dy + dx * dx), axis=(1, 2, 3)).numpy()


def bernoulli_loglik(x, logits):
    """Return log p(x|z) in nats per image for the decoder's logits (n, height, width, channels)."""
    return -tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(x, logits), axis=(1, 2, 3))


def normal_kl(mean, logvar):
    """Return KL(N(mean, exp(logvar)) || N(0, I)) in nats per image. Arguments: (n, latent_dim)."""
    return 0.5 * tf.reduce_sum(tf.exp(logvar) + mean**2 - 1 - logvar, axis=1)


def log_weight(z, mean, logvar, logpx_z, prior):
    """Return log p(x, z) - log q(z|x) in nats per image, where q(z|x) is N(mean, exp(logvar))."""
    return logpx_z + prior.log_prob(z) - normal_loglik(z, mean, logvar)


def importance_weighted_bound(draw, samples):
    """Return a lower bound of log p(x) in nats per image, and the effective number of samples.

    The bound is the log of the mean importance weight w (Burda, Grosse & Salakhutdinov 2015,
    equation 8). The effective number is (sum w)^2 / sum w^2 (Kong 1992). `draw()` draws z
    from q(z|x) and returns log w (n,).
    """
    log_sum = log_sum_of_squares = -np.inf
    for _ in range(samples):
        log_weight = np.asarray(draw(), dtype=float)
        log_sum = np.logaddexp(log_sum, log_weight)
        log_sum_of_squares = np.logaddexp(log_sum_of_squares, 2 * log_weight)
    return log_sum - math.log(samples), np.exp(2 * log_sum - log_sum_of_squares)


def gaussian_kl(mean, covariance):
    """Return KL(N(mean, covariance) || N(0, I)) in nats, or infinity for a singular covariance."""
    sign, logdet = np.linalg.slogdet(covariance)
    kl = float(np.trace(covariance) + mean @ mean - len(mean) - logdet) / 2
    return kl if sign > 0 else math.inf


def to_gaussian(random_vector, mean, covariance):
    """Transform draws (n, dim) from N(0, I) into draws from N(mean, covariance)."""
    variances, axes = np.linalg.eigh(covariance)
    return mean + (random_vector * np.sqrt(variances.clip(0))) @ axes.T


def unbiased_mmd(x, y):
    """Return an unbiased estimate of the squared MMD of x and y (n, dim), and its standard error.

    The estimate is the mean over i != j of h_ij = k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) -
    k(x_j, y_i), where k(x, y) = exp(-|x - y|^2 / dim^2) is the kernel of mmd_cvae.R (Gretton et
    al. 2012, Lemma 6, equation 4). The variance of the estimate is
    (4 (n - 2) zeta_1 + 2 zeta_2) / (n (n - 1)), where zeta_1 is the variance of the mean of h_ij
    given i, and zeta_2 is the variance of h_ij (Hoeffding 1948).
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    n, k = len(x), partial(rbf_kernel, gamma=1 / x.shape[1] ** 2)
    rows = max(1, KERNEL_ELEMENTS // n)
    sums, squares = np.zeros(n), 0.0
    for first in range(0, n, rows):
        some = slice(first, first + rows)
        h = k(x[some], x) + k(y[some], y) - k(x[some], y) - k(y[some], x)  # (rows, n)
        np.fill_diagonal(h[:, first:], 0)
        sums[some] = h.sum(axis=1)
        squares += np.sum(h**2)
    pairs = n * (n - 1)
    estimate = sums.sum() / pairs
    zeta_2 = squares / pairs - estimate**2
    # The variance of the row means exceeds zeta_1, because each is a mean of only n - 1 values
    zeta_1 = max(0.0, (sums / (n - 1)).var(ddof=1) - zeta_2 / n)
    return float(estimate), math.sqrt((4 * (n - 2) * zeta_1 + 2 * zeta_2) / pairs)


def neighbour_accuracy(train, train_labels, test, test_labels, k=15):
    """Return the accuracy of a `k`-nearest-neighbours classifier on the test points."""
    classifier = KNeighborsClassifier(min(k, len(train))).fit(train, train_labels)
    return classifier.score(test, test_labels)


def silhouette(points, labels):
    """Return the silhouette coefficient of labelled points, or 0 if it is undefined."""
    return silhouette_score(points, labels) if 1 < len(np.unique(labels)) < len(labels) else 0.0


def manifold(points, k=3):
    """Return a Manifold with one ball around each point.

    The radius of a ball is the distance to the k-th nearest point (Kynkäänniemi et al. 2019).
    """
    distances, _ = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    return Manifold(points, distances[:, -1])


def pruned(around):
    """Return a Manifold without the balls that are larger than the median ball.

    The larger balls surround outliers, and they also contain noise and blurred images. With these
    balls, noise can have a higher precision than real images. Kynkäänniemi et al. (2019) also
    prune the balls for their realism score.
    """
    kept = around.radii <= np.median(around.radii)
    return Manifold(around.points[kept], around.radii[kept])


def precision(points, around):
    """Return the share of points that lie in at least one ball (Kynkäänniemi et al. 2019)."""
    chunks = pairwise_distances_chunked(points, around.points)
    return float(np.concatenate([(c <= around.radii).any(axis=1) for c in chunks]).mean())


def coverage(points, around):
    """Return the share of balls that contain at least one of the points (Naeem et al. 2020)."""
    distances, _ = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(around.points)
    return float((distances[:, 0] <= around.radii).mean())


def frechet_distance(x, y):
    """Return the squared Fréchet distance between Gaussians that are fitted to x and y.

    For means m and covariances C, the formula is |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2))
    (Dowson & Landau 1982).
    """
    mean_x, mean_y = (points.mean(axis=0, dtype=float) for points in (x, y))
    c_x, c_y = (np.atleast_2d(np.cov(p, rowvar=False, dtype=float)) for p in (x, y))
    variances, axes = np.linalg.eigh(c_x)
    root = (axes * np.sqrt(variances.clip(0))) @ axes.T  # C_x^(1/2)
    # The symmetric matrix (C_x^(1/2) C_y C_x^(1/2))^(1/2) has the same trace as (C_x C_y)^(1/2)
    cross = np.sqrt(np.linalg.eigvalsh(root @ c_y @ root).clip(0)).sum()
    return float(((mean_x - mean_y) ** 2).sum() + np.trace(c_x) + np.trace(c_y) - 2 * cross)


def sure_classes(p, least):
    """Return the effective number of classes, and the share of images about which a judge is sure.

    The judge is sure about an image if one class has at least the probability `least`. `p` (n,
    classes) contains the probabilities.
    """
    labels = p[p.max(axis=1) >= least].argmax(axis=1)
    _, counts = np.unique(labels, return_counts=True)
    information = -(counts / len(p) * np.log(counts / counts.sum())).sum()
    return float(np.exp(information)), len(labels) / len(p)
