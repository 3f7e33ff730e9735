"""Select the loss function for the flags of a script.

If no flag changes the loss, a script uses its own function `compute_loss`, the original's loss.
"""

from common.devices.distribute import on_devices
from common.losses import compute_kernel, compute_mmd, normal_loglik
from common.objectives.flags import mmd_weight

import tensorflow as tf

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def inverse_multiquadratics(x, y):
    """Return a kernel matrix (n, m) for x (n, dim) and y (m, dim), which suits many dimensions.

    The kernel is the mean over s in `SCALES` of C / (C + |x_i - y_j|^2) with C = 2 dim s. The
    expected squared distance of two draws from N(0, I) is 2 dim. Source: Tolstikhin et al. (2018),
    section 4. Their published code uses these seven scales, and the sum instead of the mean.
    """
    squared = tf.math.squared_difference(x[:, tf.newaxis], y[tf.newaxis])  # (n, m, dim)
    relative = tf.reduce_mean(squared, axis=2) / 2  # (n, m)
    return tf.add_n([s / (s + relative) for s in SCALES]) / len(SCALES)


KERNELS = {None: compute_kernel, "imq": inverse_multiquadratics}


def elbo_loss(args, compute_loss, reparameterize, prior):
    """Return the loss function for the flags of eager_cvae.py.

    With --beta or --alpha, the loss per image is -log p(x|z) + kl * KL(q(z|x), p(z)) + mmd *
    MMD(q(z), p(z)). The ELBO (Kingma & Welling 2013, equation 2) has kl = 1 and mmd = 0. A beta-VAE
    (Higgins et al. 2017) has kl = beta and mmd = 0. InfoVAE (Zhao, Song & Ermon 2017, equation 6)
    has kl = 1 - alpha and mmd = alpha + lambda - 1. These terms are in nats per image, except
    the MMD, which has no unit. Without --beta and --alpha, log p(x|z) is summed over the batch, as
    in the original's `compute_loss`. Then `logpx_z_total` and `total` are in nats per batch.
    """
    kl = args.beta if args.alpha is None else 1 - args.alpha
    mmd, kernel = mmd_weight(args), KERNELS[args.kernel]
    if kl is None and not args.vamp_prior:
        return _averaged(compute_loss)

    def weighted_elbo(x, encoder, decoder, rng):
        mean, logvar = encoder(x)
        z = reparameterize(mean, logvar, rng)
        preds = decoder(z)

        crossentropy_loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=preds)
        # These copies fix the order in which TensorFlow adds up gradients
        codes, logvar = tf.identity(z), tf.identity(logvar)
        z = tf.identity(codes)
        distribution = prior.distribution(encoder)
        logpz = distribution.log_prob(z)  # (n,)
        logqz_x = normal_loglik(z, mean, logvar)  # (n,)
        if kl is None:  # R: the original computes the sum over all images of the batch
            logpx_z = -tf.reduce_sum(crossentropy_loss)
            loss = -tf.reduce_mean(logpx_z + logpz - logqz_x)
        else:
            logpx_z = -tf.reduce_sum(crossentropy_loss, axis=(1, 2, 3))  # (n,)
            loss = -tf.reduce_mean(logpx_z + kl * (logpz - logqz_x))
        terms = {"logpx_z": logpx_z, "logpz": logpz, "logqz_x": logqz_x}
        if mmd:
            terms["loss_mmd"] = compute_mmd(distribution.draw(rng, codes), codes, kernel)
            loss += mmd * terms["loss_mmd"]
        return loss, terms

    return _averaged(weighted_elbo)


def mmd_loss(args, compute_loss):
    """Return the loss function for the flags of mmd_cvae.py.

    Without --lambda, --cross-entropy and --kernel, return the original's loss, `compute_loss`.
    `loss_nll_total` is the mean squared error, or the mean cross entropy in nats, per pixel.
    """
    weight, kernel = mmd_weight(args), KERNELS[args.kernel]
    if weight == 1 and not args.kernel and not args.cross_entropy:
        return _averaged(compute_loss)

    def weighted_mmd(x, encoder, decoder, rng):
        mean = encoder(x)
        preds = decoder(mean, logits=args.cross_entropy)

        true_samples = rng.normal(tf.shape(mean), dtype=mean.dtype)
        if args.cross_entropy:
            loss_nll = tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=preds)
        else:
            loss_nll = tf.square(x - preds)
        loss_nll = tf.reduce_mean(loss_nll)
        loss_mmd = compute_mmd(true_samples, mean, kernel)
        loss = loss_nll + weight * loss_mmd
        return loss, {"loss_nll": loss_nll, "loss_mmd": loss_mmd}

    return _averaged(weighted_mmd)


def _averaged(loss_function):
    """Wrap a loss function. Average its terms over the batch, and name them as R does."""

    def compute(x, encoder, decoder, rng):
        loss, terms = loss_function(x, *on_devices(encoder, decoder), rng)
        losses = {f"{name}_total": tf.reduce_mean(term) for name, term in terms.items()}
        return loss, losses | {"total": loss}

    return compute
