"""The families around the two scripts' objectives: what their flags weigh, and by how much."""

from typing import NamedTuple


class Weights(NamedTuple):
    """Of a loss an image, -log p(x|z) + kl KL(q(z|x), p(z)) + mmd MMD(q(z), p(z)).

    InfoVAE's (Zhao, Song & Ermon 2017, equation 6) has kl = 1 - alpha, mmd = alpha + lambda - 1;
    the ELBO (Kingma & Welling 2013, equation 2) 1 and 0; a beta-VAE (Burgess et al. 2018) beta
    and 0; an MMD-VAE that draws z of q(z|x) 0 and lambda.
    """

    kl: float
    mmd: float


def elbo_weights(args):
    """The `Weights` that eager_cvae.py's flags say; None without: the original's arithmetic."""
    if args.beta is not None:
        return Weights(args.beta, 0.0)
    if args.alpha is not None:
        return Weights(1 - args.alpha, args.alpha + vars(args)["lambda"] - 1)
    return None


def elbo_title(args):
    """What eager_cvae.py's model is called in figures."""
    name, words = "CVAE", ["ELBO"]
    if args.beta is not None:
        words = [f"beta = {args.beta:g}"]
    elif args.alpha is not None:
        name, words = "InfoVAE", [f"alpha = {args.alpha:g}", f"lambda = {vars(args)['lambda']:g}"]
    if args.vamp_prior:
        words.append(f"VampPrior of {args.vamp_prior}")
    return f"{name} ({', '.join(words)})"


def mmd_weight(args):
    """The MMD's weight that mmd_cvae.py's flags say."""
    weight = vars(args)["lambda"]
    return 1.0 if weight is None else weight


def mmd_title(args):
    """What mmd_cvae.py's model is called in figures."""
    words = ["cross entropy"] * args.cross_entropy
    if vars(args)["lambda"] is not None:
        words.append(f"lambda = {mmd_weight(args):g}")
    return f"MMD-VAE ({', '.join(words)})" if words else "MMD-VAE"
