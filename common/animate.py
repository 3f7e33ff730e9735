"""Join the figures of a run into animations with one frame per epoch.

RUN is the folder of a run. The program writes one GIF per kind of figure to that folder, for
example cvae_grid.gif. A run with --plot-every 1 has a figure for every epoch.

    python -m common.animate outputs/fashion_mnist/cvae
"""

from pathlib import Path

from common.program.flags import Parser, path
from common.program.signals import signals_wait
from common.program.startup import run_script, start


def get_args(argv=None):
    """Return the flags. Raise UserError for invalid flags."""
    about = "Join the figures of a run into GIFs with one frame per epoch."
    parser = Parser("python -m common.animate", description=about)
    help = "folder of a run, such as outputs/fashion_mnist/cvae"
    parser.add_argument("run", type=path, metavar="RUN", help=help)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)  # answers --help before the imports below, which take seconds

from common.program.errors import UserError
from common.program.files import replacing_unlocked
from common.training.folder import FIGURES, MODELS, PSEUDO_INPUTS

from PIL import Image

# Exceptions of Pillow for a damaged PNG
DAMAGED = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
FRAME, LAST_FRAME = 200, 2000  # milliseconds


def find_figures(folder):
    """Return the figures of a run: a dict from the kind to the PNGs in the order of their epochs.

    A kind with fewer than two figures is left out.

    Raises:
        UserError: the folder is not that of a run, or no kind has two figures.
    """
    model = folder.resolve().name
    if model not in MODELS or not folder.is_dir():
        raise UserError(f"{folder} is not a folder of a run. Give OUTPUT_DIR/DATASET/cvae or mmd.")
    figures = {}
    for kind in (*FIGURES, PSEUDO_INPUTS):
        start = f"{model}_{kind}_epoch_"
        files = {file.stem.removeprefix(start): file for file in folder.glob(f"{start}*.png")}
        files = {int(epoch): file for epoch, file in files.items() if epoch.isdecimal()}
        if len(files) > 1:
            figures[kind] = [files[epoch] for epoch in sorted(files)]
    if not figures:
        raise UserError(
            f"{folder} has fewer than two figures of each kind. An animation requires two. Retrain "
            "the run with a smaller --plot-every."
        )
    return figures


def read_frame(file):
    """Return a figure with at most 256 colours, without dithering. Greys keep their values."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB").quantize(dither=Image.Dither.NONE)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno:  # for example, a missing permission
            raise
        raise UserError(f"{file} is damaged: {error}. Delete it to leave out its frame.") from error


def animate(folder):
    """Write the GIFs of a run, and print the path of each one."""
    for kind, files in find_figures(folder).items():
        first, *others = [read_frame(file) for file in files]
        path = folder / f"{folder.resolve().name}_{kind}.gif"
        durations = [FRAME] * len(others) + [LAST_FRAME]
        with signals_wait(), replacing_unlocked(path) as temporary:
            first.save(temporary, save_all=True, append_images=others, duration=durations, loop=0)
        print(path, flush=True)


def main(argv=None):
    """Run the program."""
    animate(Path(get_args(argv).run))


if __name__ == "__main__":
    run_script(main)
