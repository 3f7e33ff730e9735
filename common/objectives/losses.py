"""The losses that the flags of the two scripts select.

Without such flags, a script uses its own `compute_loss`, which is the original's.
"""

from common.devices.distribute import on_devices
from common.losses import compute_kernel, compute_mmd, normal_loglik
from common.objectives.flags import mmd_weight
from common.objectives.kernels import inverse_multiquadratics

import tensorflow as tf

KERNELS = {None: compute_kernel, "imq": inverse_multiquadratics}  # by the value of --kernel


def elbo_loss(args, compute_loss, reparameterize, prior):
    """Return the loss function for the flags of eager_cvae.py.

    With --beta or --alpha, the loss per image is -log p(x|z) + kl * KL(q(z|x), p(z)) + mmd *
    MMD(q(z), p(z)). The ELBO (Kingma & Welling 2013, equation 2) has kl = 1 and mmd = 0. A beta-VAE
    (Higgins et al. 2017) has kl = beta and mmd = 0. InfoVAE (Zhao, Song & Ermon 2017, equation 6)
    has kl = 1 - alpha and mmd = alpha + lambda - 1.

    Args:
        args: the flags.
        compute_loss: the original's loss, which is used without --beta, --alpha and --vamp-prior.
        reparameterize: the script's function of this name.
        prior: StandardNormal or VampPrior.

    Returns:
        A function of images, encoder, decoder and random generator. It returns the loss and a dict
        of its terms. With --beta or --alpha, the terms are in nats per image, except the MMD, which
        has no unit. Without, `logpx_z_total` and `total` are in nats per batch.
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
        # The identities make TensorFlow sum gradients in pairs, in an order that never varies
        codes, logvar = tf.identity(z), tf.identity(logvar)
        z = tf.identity(codes)
        distribution = prior.distribution(encoder)
        logpz = distribution.log_prob(z)  # (n,)
        logqz_x = normal_loglik(z, mean, logvar)  # (n,)
        if kl is None:
            logpx_z = -tf.reduce_sum(
                crossentropy_loss
            )  # a scalar: also summed over the batch, as in R
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

    Args:
        args: the flags.
        compute_loss: the original's loss, which is used without --lambda, --cross-entropy and
            --kernel.

    Returns:
        A function of images, encoder, decoder and random generator. It returns the loss and a dict
        of its terms: the mean squared error, or the mean cross entropy (nats), per pixel; the MMD
        without its weight; the weighted sum.
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
    """Return a loss function whose terms are averaged over the batch and named as R prints them."""

    def compute(x, encoder, decoder, rng):
        loss, terms = loss_function(x, encoder, decoder, rng)
        losses = {f"{name}_total": tf.reduce_mean(term) for name, term in terms.items()}
        return loss, losses | {"total": loss}

    return on_devices(compute)
