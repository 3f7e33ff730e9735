"""Write an HTML page that shows the latent spaces of finished runs.

RUN is the folder of a run, or a folder that contains runs. The default is the runs in outputs/. The
page of two runs on Fashion-MNIST takes about 22 seconds on two CPU cores.

    python -m common.explore
    python -m common.explore outputs/fashion_mnist outputs/beta1/fashion_mnist/cvae
"""

from common.program.flags import Parser, add_runs, path
from common.program.startup import run_script, start


def get_args(argv=None):
    """Return the flags. Raise UserError for invalid flags."""
    parser = Parser("python -m common.explore", description=__doc__.partition("\n")[0])
    add_runs(parser)
    help = "write the page to this file (default: explorer.html, next to the first run)"
    parser.add_argument("--output", type=path, metavar="FILE", help=help)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)  # Answer --help before the imports below, which take seconds

from pathlib import Path

from common.devices.determinism import set_up
from common.explore.page import MARK, content, to_html
from common.load import load_run
from common.program.errors import UserError
from common.program.files import replacing_unlocked
from common.program.signals import signals_wait
from common.runs import check_place, find_runs


def main(argv=None):
    """Read the runs, write their page, and print its path."""
    args = get_args(argv)
    with set_up(0, "float32"):
        runs = [load_run(folder) for folder in find_runs(args.runs)]
        file = Path(args.output or runs[0].folder.parent)
        file = file / "explorer.html" if file.is_dir() else file
        check_place(file)
        if file.exists() and MARK not in file.read_bytes()[:1000]:
            raise UserError(f"{file} was not written by this program. Choose another --output.")
        html = to_html(content(runs, args.data_dir))
    with signals_wait(), replacing_unlocked(file) as temporary:
        temporary.write_bytes(html)
    print(f"{file}, {len(html) / 1e6:.1f} MB. Open it in a browser.", flush=True)


if __name__ == "__main__":
    run_script(main)
