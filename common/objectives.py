"""The families around the two scripts' objectives: what their flags weigh, and by how much."""

from collections.abc import Callable
from typing import NamedTuple

from common.losses import compute_kernel, inverse_multiquadratics

ORIGINAL_SEES = 8  # latent dimensions; measured, see README.md


class Weights(NamedTuple):
    """Of a loss an image, -log p(x|z) + kl KL(q(z|x), p(z)) + mmd MMD(q(z), p(z)).

    InfoVAE's (Zhao, Song & Ermon 2017, equation 6) has kl = 1 - alpha, mmd = alpha + lambda - 1;
    the ELBO (Kingma & Welling 2013, equation 2) 1 and 0; a beta-VAE (Higgins et al. 2017) beta
    and 0; an MMD-VAE that draws z of q(z|x) 0 and lambda.
    """

    kl: float
    mmd: float
    kernel: Callable = compute_kernel  # of the MMD


def elbo_weights(args):
    """The `Weights` that eager_cvae.py's flags say; None without: the original's arithmetic."""
    if args.beta is not None:
        return Weights(args.beta, 0.0)
    if args.alpha is not None:
        mmd = round(args.alpha + vars(args)["lambda"] - 1, 9)  # 0 of -0.4 and 1.4
        return Weights(1 - args.alpha, mmd, mmd_kernel(args))
    return None


def milder(args):
    """What to try where the training diverges: flags whose weights are large, in words."""
    alpha, lambda_ = vars(args).get("alpha"), vars(args).get("lambda") or 0
    found = []
    if (beta := vars(args).get("beta") or 0) > 1:
        found.append(f"a smaller --beta than {beta:g}")
    if alpha is not None and alpha < 0:
        found.append(f"a larger --alpha than {alpha:g}")
    if lambda_ + (0 if alpha is None else alpha - 1) > 1:
        found.append(f"a smaller --lambda than {lambda_:g}")
    return [*found, f"a smaller --learning-rate than {args.learning_rate:g}"]


def elbo_title(args):
    """What eager_cvae.py's model is called in figures."""
    name, words = "CVAE", ["ELBO"]
    if args.beta is not None:
        words = [f"beta = {args.beta:g}"]
    elif args.alpha is not None:
        name, words = "InfoVAE", [f"alpha = {args.alpha:g}", f"lambda = {vars(args)['lambda']:g}"]
    words += [f"kernel = {args.kernel}"] * bool(args.kernel)
    if args.vamp_prior:
        words.append(f"VampPrior of {args.vamp_prior}")
    return f"{name} ({', '.join(words)})"


def mmd_weight(args):
    """The MMD's weight that mmd_cvae.py's flags say."""
    weight = vars(args)["lambda"]
    return 1.0 if weight is None else weight


def mmd_kernel(args):
    """The MMD's kernel that either script's flags say, a function of losses.py."""
    return inverse_multiquadratics if args.kernel == "imq" else compute_kernel


def kernel_note(args):
    """A line on the original's kernel where it is used in more dimensions than it sees; or None."""
    weights = elbo_weights(args) if "alpha" in args else Weights(0.0, mmd_weight(args))
    if args.kernel or not (weights and weights.mmd) or args.latent_dim <= ORIGINAL_SEES:
        return None
    return (
        f"The original's kernel hardly sees how codes of {args.latent_dim} dimensions spread: "
        "draws come out broken. What mends them: README, what surprises."
    )


def mmd_title(args):
    """What mmd_cvae.py's model is called in figures."""
    words = ["cross entropy"] * args.cross_entropy
    if vars(args)["lambda"] is not None:
        words.append(f"lambda = {mmd_weight(args):g}")
    words += [f"kernel = {args.kernel}"] * bool(args.kernel)
    return f"MMD-VAE ({', '.join(words)})" if words else "MMD-VAE"
