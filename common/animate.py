"""Join the figures of a run into animations, an epoch a frame.

RUN is OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd. Every kind of figure becomes a GIF beside
its PNGs, such as cvae_grid.gif. A run with --plot-every 1 has a figure for every epoch.

    python -m common.animate outputs/fashion_mnist/cvae
"""

from pathlib import Path

from common import UserError
from common.flags import Parser
from common.run import FIGURES, Interrupted, replacing_unlocked, run_script

from PIL import Image

FRAME, LAST_FRAME = 200, 2000  # milliseconds
MORE = "It takes two to animate: train with a smaller --plot-every."


def find_figures(run):
    """A run's figures, a dict from the kind to the PNGs in the order of their epochs.

    Kinds of which there are fewer than two, as in runs of earlier versions, are left out. Raises
    UserError where there is nothing to animate.
    """
    folder, model = run.parent, run.name
    if model not in ("cvae", "mmd") or not folder.is_dir():
        raise UserError(f"there is no run {run}: give OUTPUT_DIR/DATASET/cvae, or mmd there.")
    figures = {}
    for kind in FIGURES:
        start = f"{model}_{kind}_epoch_"
        files = {path.stem.removeprefix(start): path for path in folder.glob(f"{start}*.png")}
        files = {int(epoch): path for epoch, path in files.items() if epoch.isdecimal()}
        if len(files) > 1:
            figures[kind] = [files[epoch] for epoch in sorted(files)]
    if not figures:
        raise UserError(f"{folder} has no two figures of a kind of a {model} run. {MORE}")
    return figures


def read_frame(path):
    """A figure in 256 colours: all its greys, or the nearest to a latent figure's blends."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB").quantize(dither=Image.Dither.NONE)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's words for a bad PNG
        if isinstance(error, OSError) and error.errno:  # as of a file that may not be read
            raise
        raise UserError(f"{path} is damaged: {error}. Delete it to go without.") from error


def animate(run):
    """Write the GIFs of a run, and say so of each."""
    for kind, files in find_figures(run).items():
        first, *others = [read_frame(path) for path in files]
        path = run.parent / f"{run.name}_{kind}.gif"
        with replacing_unlocked(path) as file:
            durations = [FRAME] * len(others) + [LAST_FRAME]
            first.save(file, save_all=True, append_images=others, duration=durations, loop=0)
        print(path, flush=True)


def main(argv=None):
    """Animate the run that the command line names."""
    parser = Parser("animate.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="OUTPUT_DIR/DATASET/cvae, or mmd there"
    )
    run = parser.parse_args(argv).run
    try:
        animate(run)
    except Interrupted as stop:
        stop.add_note("Stopped.")
        raise
    except OSError as error:
        error.add_note("Mend that and try again.")
        raise


if __name__ == "__main__":
    run_script(main)
