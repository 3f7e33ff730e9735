"""Join the figures of a run into animations with one frame per figure.

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
    parser = Parser("python -m common.animate", description=__doc__.partition("\n")[0])
    help = "folder of a run, such as outputs/fashion_mnist/cvae"
    parser.add_argument("run", type=path, metavar="RUN", help=help)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)  # Answer --help before the imports below, which take seconds

from common.program.errors import UserError
from common.program.files import replacing_unlocked
from common.training.folder import FIGURES, MODELS, PSEUDO_INPUTS

from PIL import Image

FRAME, LAST_FRAME = 200, 2000  # durations of most frames and of the last frame in milliseconds


def find_figures(folder):
    """Return a dict from each kind of figure to its PNG files in the order of the epochs.

    Kinds with only one file are omitted.
    """
    model, figures = folder.resolve().name, {}
    if model not in MODELS or not folder.is_dir():
        raise UserError(
            f"{folder} is not the folder of a run. Give OUTPUT_DIR/DATASET/cvae or "
            "OUTPUT_DIR/DATASET/mmd."
        )
    for kind in (*FIGURES, PSEUDO_INPUTS):
        start = f"{model}_{kind}_epoch_"
        files = {file.stem.removeprefix(start): file for file in folder.glob(f"{start}*.png")}
        epochs = sorted(filter(str.isdecimal, files), key=int)
        if len(epochs) > 1:
            figures[kind] = [files[epoch] for epoch in epochs]
    if not figures:
        raise UserError(
            f"{folder} does not contain two figures of the same kind. Retrain the run with a "
            "smaller --plot-every."
        )
    return figures


def read_frame(file):
    """Read a PNG file and reduce its colours to at most 256, as a GIF requires."""
    try:
        with Image.open(file) as image:
            return image.convert("RGB").quantize(dither=Image.Dither.NONE)  # This keeps all greys
    except (OSError, SyntaxError, ValueError) as error:
        if getattr(error, "errno", None):  # The user may lack the permission to read the file
            raise
        raise UserError(f"{file} is damaged: {error}. Delete it to omit its frame.") from error


def main(argv=None):
    """Write the GIFs of a run, and print the path of each GIF."""
    folder = Path(get_args(argv).run)
    for kind, files in find_figures(folder).items():
        first, *others = map(read_frame, files)
        times = [FRAME] * len(others) + [LAST_FRAME]
        file = folder / f"{folder.resolve().name}_{kind}.gif"
        with signals_wait(), replacing_unlocked(file) as temporary:
            first.save(temporary, save_all=True, append_images=others, duration=times, loop=0)
        print(file, flush=True)


if __name__ == "__main__":
    run_script(main)
