"""Define the flags of the objectives, the titles of the models, and advice about these flags."""

import argparse

from common.program.flags import check_filters, make_parser, number, whole_number

WEIGHT = 1e37  # Larger weights could overflow in float32
ORIGINAL_SEES = 8  # In more than 8 dimensions, the original's kernel hardly measures the spread


def elbo_parser(*defaults):
    """Return the parser of eager_cvae.py. `defaults` are the last five arguments of make_parser."""
    parser = make_parser("eager_cvae.py", "Train a VAE on the ELBO, as in eager_cvae.R.", *defaults)
    flags = parser.add_argument_group("other objectives than the original's")
    weight = number(-WEIGHT, WEIGHT)
    help = "sum the reconstruction per image and weight the KL divergence by B: 1 is the ELBO, "
    help += "more is a beta-VAE (default: the original's sum over the batch)"
    flags.add_argument("--beta", help=help, type=number(0, WEIGHT), metavar="B")
    help = "InfoVAE: sum per image, weight the KL divergence by 1 - A and the MMD by A + L - 1"
    flags.add_argument("--alpha", help=help, type=weight, metavar="A")
    flags.add_argument("--lambda", help="see --alpha", type=weight, metavar="L")
    help = "VampPrior: use the mixture of the encoder's Gaussians for K trained images as the "
    help += "prior (default: N(0, I))"
    flags.add_argument("--vamp-prior", help=help, type=whole_number(1, 10_000), metavar="K")
    _add_kernel(flags)
    parser.check = lambda args: check_filters(args) or _check_elbo_flags(args)
    return parser


def mmd_parser(*defaults):
    """Return the parser of mmd_cvae.py. `defaults` are the last five arguments of make_parser."""
    parser = make_parser("mmd_cvae.py", "Train an MMD-VAE, as in mmd_cvae.R.", *defaults)
    flags = parser.add_argument_group("other objectives than the original's")
    flags.add_argument("--lambda", help="weight of the MMD (default: 1)", type=_mmd, metavar="L")
    help = "use the mean cross entropy per pixel instead of the squared error"
    flags.add_argument("--cross-entropy", help=help, action="store_true")
    _add_kernel(flags)
    parser.check = lambda args: check_filters(args) or _check_mmd_flags(args)
    return parser


def _add_kernel(flags):
    help = "kernel of the MMD; imq is a mean of inverse multiquadratics (default: original)"
    flags.add_argument("--kernel", help=help, type=_kernel, metavar="{original,imq}")


def _mmd(text):
    weight = number(0, WEIGHT)(text)
    return None if weight == 1 else weight  # settings.json stores the default as null


def _kernel(text):
    if text in ("original", "imq"):
        return None if text == "original" else text  # settings.json stores the default as null
    raise argparse.ArgumentTypeError(f"{text!r} is not a kernel. Use original or imq")


def _check_elbo_flags(args):
    """Return an error message if the flags of eager_cvae.py contradict each other, else None."""
    alpha, lambda_ = args.alpha, vars(args)["lambda"]
    untrained = "would leave the pseudo-inputs of --vamp-prior untrained. Choose another weight"
    if args.vamp_prior and args.beta == 0:
        return f"--beta 0 {untrained}"
    if (alpha is None) != (lambda_ is None):
        return "--alpha and --lambda require each other. Give both"
    if alpha is None:
        return args.kernel and "--kernel requires an MMD. Also give --alpha and --lambda"
    if args.beta is not None:
        weights = "For the KL weight B and the MMD weight M, use --alpha 1-B --lambda M+B"
        return f"--beta cannot be used with --alpha and --lambda. {weights}"
    if alpha > 1:
        return f"--alpha must be at most 1, but is {alpha:g}: the KL weight would be negative"
    both = f"--alpha {alpha:g} and --lambda {lambda_:g}"
    mmd = mmd_weight(args)
    if mmd < 0:
        return f"{both} must add up to 1 or more: the MMD weight would be negative"
    if args.kernel and not mmd:
        return f"--kernel requires an MMD, but {both} give it the weight 0"
    if args.vamp_prior and alpha == 1 and not mmd:
        return f"{both} {untrained}"
    return None


def _check_mmd_flags(args):
    """Return an error message if the flags of mmd_cvae.py contradict each other, else None."""
    no_mmd = args.kernel and not mmd_weight(args)
    return "--kernel requires an MMD, but --lambda 0 gives it the weight 0" if no_mmd else None


def mmd_weight(args):
    """Return the weight of the MMD in the loss, for the flags of either script."""
    lambda_ = vars(args)["lambda"]
    if "alpha" not in args:
        return 1.0 if lambda_ is None else lambda_
    # Without rounding, -0.4 + 1.4 - 1 would not be exactly 0
    return 0.0 if args.alpha is None else round(args.alpha + lambda_ - 1, 9)


def title(args):
    """Return the title of a model with its objective, such as "CVAE (ELBO)"."""
    lambda_ = vars(args)["lambda"]
    if "alpha" not in args:
        name, words = "MMD-VAE", ["cross entropy"] * args.cross_entropy
    elif args.alpha is not None:
        name, words = "InfoVAE", [f"alpha = {args.alpha:g}"]
    else:
        name, words = "CVAE", ["ELBO" if args.beta is None else f"beta = {args.beta:g}"]
    words += [] if lambda_ is None else [f"lambda = {lambda_:g}"]
    words += [f"kernel = {args.kernel}"] * bool(args.kernel)
    if "alpha" in args and args.vamp_prior:
        words.append(f"VampPrior of {args.vamp_prior}")
    return f"{name} ({', '.join(words)})" if words else name


def milder(args):
    """Return advice after a training has diverged, for example to use a smaller learning rate."""
    alpha, beta = vars(args).get("alpha"), vars(args).get("beta") or 0
    found = []
    if beta > 1:
        found.append(f"a smaller --beta than {beta:g}")
    if alpha is not None and alpha < 0:
        found.append(f"a larger --alpha than {alpha:g}")
    if mmd_weight(args) > 1:
        found.append(f"a smaller --lambda than {vars(args)['lambda']:g}")
    return ", ".join([*found, f"a smaller --learning-rate than {args.learning_rate:g}"])


def kernel_warning(args):
    """Return a warning if there are too many dimensions for the original's kernel, else None."""
    if args.kernel or not mmd_weight(args) or args.latent_dim <= ORIGINAL_SEES:
        return None
    return (
        f"Warning: with {args.latent_dim} latent dimensions, the original's kernel hardly measures "
        "the spread of the latent vectors, and random images are poor. See 'Photographs and "
        "more dimensions' in outputs/reference/README.md."
    )
