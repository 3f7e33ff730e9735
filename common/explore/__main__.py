"""The program.

RUNs are as for common.compare: by default the two of Fashion-MNIST in outputs/. Writes one page,
explorer.html, beside the first one's data set, that opens in any browser by a double click.

    python -m common.explore
    python -m common.explore outputs/fashion_mnist outputs/beta1/fashion_mnist/cvae
"""

from common.program.flags import Parser, add_runs, path
from common.program.startup import run_script, start


def get_args(argv=None):
    """The command line; raises UserError for what is unknown or malformed."""
    about = "Trained runs as a page to look around in."
    parser = Parser("python -m common.explore", description=about)
    add_runs(parser)
    what = "the page to write (default: explorer.html, beside the first run)"
    parser.add_argument("--output", type=path, metavar="FILE", help=what)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)

from pathlib import Path

from common.devices.determinism import set_up
from common.explore.page import MARK, content, to_html
from common.load import load_run
from common.program.errors import UserError
from common.program.files import replacing_unlocked
from common.program.signals import signals_wait
from common.runs import check_place, find_runs


def output_file(output):
    """The page's path; raises OSError or UserError if it cannot be written there."""
    file = Path(output)
    if file.is_dir():
        file /= "explorer.html"
    check_place(file)
    if file.exists() and not (file.is_file() and MARK in file.read_bytes()[:1000]):
        raise UserError(f"{file} is there, and no page of this program: choose another --output.")
    return file


def explore(args):
    """Read the runs and write their page."""
    runs = [load_run(folder) for folder in find_runs(args.runs)]
    file = output_file(args.output or runs[0].folder.parent / "explorer.html")
    html = to_html(content(runs, args.data_dir))
    with signals_wait(), replacing_unlocked(file) as partial:
        partial.write_bytes(html)
    print(f"{file}, {len(html) / 1e6:.1f} MB. Open it in a browser.", flush=True)


def main(argv=None):
    """Write the page."""
    with set_up(0, "float32"):
        explore(get_args(argv))


if __name__ == "__main__":
    run_script(main)
