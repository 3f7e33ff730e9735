"""Join the figures of a run into animations, an epoch a frame.

RUN is a run's folder. Every kind of figure becomes a GIF beside its PNGs, such as cvae_grid.gif. A
run with --plot-every 1 has a figure for every epoch.

    python -m common.animate outputs/fashion_mnist/cvae
"""

from pathlib import Path

from common.program.flags import Parser, path
from common.program.signals import signals_wait
from common.program.startup import run_script, start


def get_args(argv=None):
    """The command line; raises UserError for what is unknown or malformed."""
    parser = Parser("python -m common.animate", description="A run's figures as GIFs.")
    what = "a run's folder, such as outputs/fashion_mnist/cvae"
    parser.add_argument("run", type=path, metavar="RUN", help=what)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)

from common.program.errors import UserError
from common.program.files import regular, replacing_unlocked
from common.training.folder import FIGURES, MODELS, PSEUDO_INPUTS

from PIL import Image

BAD_PNG = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # Pillow's words for one
FRAME, LAST_FRAME = 200, 2000  # milliseconds
MORE = "It takes two to animate: train anew with a smaller --plot-every."


def find_figures(folder):
    """A run's figures, a dict from the kind to the PNGs in the order of their epochs.

    Kinds of which there are fewer than two, as in runs of earlier versions, are left out. Raises
    UserError where there is nothing to animate.
    """
    model = folder.resolve().name
    if model not in MODELS or not folder.is_dir():
        raise UserError(f"there is no run {folder}: give OUTPUT_DIR/DATASET/cvae, or mmd there.")
    figures = {}
    for kind in (*FIGURES, PSEUDO_INPUTS):
        start = f"{model}_{kind}_epoch_"
        files = {path.stem.removeprefix(start): path for path in folder.glob(f"{start}*.png")}
        files = {int(epoch): path for epoch, path in files.items() if epoch.isdecimal()}
        if len(files) > 1:
            figures[kind] = [files[epoch] for epoch in sorted(files)]
    if not figures:
        raise UserError(f"{folder} has no two figures of a kind. {MORE}")
    return figures


def read_frame(path):
    """A figure in 256 colours: all its greys, or the nearest to a latent figure's blends."""
    try:
        with Image.open(regular(path)) as image:
            return image.convert("RGB").quantize(dither=Image.Dither.NONE)
    except BAD_PNG as error:
        if isinstance(error, OSError) and error.errno:  # as of a file that may not be read
            raise
        raise UserError(f"{path} is damaged: {error}. Delete it to go without.") from error


def animate(folder):
    """Write the GIFs of a run, and say so of each."""
    for kind, files in find_figures(folder).items():
        first, *others = [read_frame(path) for path in files]
        path = folder / f"{folder.resolve().name}_{kind}.gif"
        with signals_wait(), replacing_unlocked(path) as file:
            durations = [FRAME] * len(others) + [LAST_FRAME]
            first.save(file, save_all=True, append_images=others, duration=durations, loop=0)
        print(path, flush=True)


def main(argv=None):
    """Animate the run that the command line names."""
    animate(Path(get_args(argv).run))


if __name__ == "__main__":
    run_script(main)
