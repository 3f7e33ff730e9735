"""What did the cost function change? Trained runs side by side, in figures and in numbers.

Without arguments, the two runs in outputs/. Else RUNs are written OUTPUT_DIR/DATASET/cvae or
OUTPUT_DIR/DATASET/mmd; runs that differ in nothing but --seed share a column. Writes
comparison.png, .md and .json beside the first run. Two runs of Fashion-MNIST take 2 minutes on two
cores.

    python -m common.compare
    python -m common.compare outputs/fashion_mnist/mmd outputs/seed1/fashion_mnist/mmd
"""

import contextlib
import functools
import json
import sys
import tempfile
from pathlib import Path

from common import UserError
from common.data import TITLES
from common.evaluate import kept_result, make_decode, measure, prior, progress, read_reference
from common.fast import in_batches
from common.flags import Parser, path, whole_number
from common.plotting import Column, show_comparison
from common.report import table, to_json, to_markdown
from common.run import (
    FREE_FLAGS,
    Interrupted,
    raise_if_interrupted,
    replacing_unlocked,
    run_script,
    set_up,
)
from common.trained import default_runs, read_run

import numpy as np
import sklearn
import tensorflow as tf

NAMES = {"cvae": "CVAE", "mmd": "MMD-VAE"}
FREE_IN_COLUMN = FREE_FLAGS - {"epochs"} | {"seed"}  # flags in which a column's runs may differ
SUFFIXES = (".png", ".md", ".json")


def get_args(argv=None):
    """The command line; raises SystemExit (status 2) for what is unknown or malformed."""
    usage = "python -m common.compare [flags] [RUN ...]"
    parser = Parser(
        "compare.py", usage=usage, description=__doc__.splitlines()[0], allow_abbrev=False
    )
    flag = parser.add_argument
    flag("runs", nargs="*", metavar="RUN", help="OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd")
    flag(
        "--output",
        type=path,
        metavar="FILE",
        help="write FILE's name with .png, .md and .json (default: comparison, beside the first)",
    )
    flag("--data-dir", type=path, metavar="DIR", help="folder of TFDS data sets, if moved since")
    for name, default, what in (("samples", 500, "an image"), ("images", 1000, "of the test set")):
        flag(
            f"--iw-{name}",
            type=whole_number(1, 100_000),
            default=default,
            metavar="N",
            help=f"{name} {what} for the importance-weighted bound (default: %(default)s)",
        )
    return parser.parse_args(argv)


def make_column(title, run, reference):
    """A run's part of the figure."""
    data, images, *_ = reference
    decode = make_decode(run)
    mean = in_batches(run.encoder, data.test_images)
    mean = (mean[0] if run.model == "cvae" else mean).numpy()
    firsts = np.unique(data.test_labels, return_index=True)[1]  # the first image of each class
    about = f"{TITLES[run.dataset]}, epoch {run.flags['epochs']}, seed {run.flags['seed']}"
    return Column(
        title, about, decode, prior(64, run), mean, data.test_labels, data.class_names,
        images[firsts], decode(mean[firsts]),
    )  # fmt: skip


def setting(run):
    """What the runs of one column have in common, by flag."""
    flags = {name: value for name, value in run.flags.items() if name not in FREE_IN_COLUMN}
    both = {"model": run.model, "dataset": run.dataset, **flags}
    return {name: value for name, value in both.items() if value is not None}


def by_setting(results):
    """The results in a dict from column title to those of one setting.

    A title is the model's name and the flags that are not the same in all settings.
    """
    groups = {}
    for result in results:
        groups.setdefault(json.dumps(setting(result.run), sort_keys=True), []).append(result)
    settings = [setting(group[0].run) for group in groups.values()]
    names = dict.fromkeys(name for setting in settings for name in setting if name != "model")
    differing = [name for name in names if len({str(s.get(name)) for s in settings}) > 1]

    def title(setting):
        words = [
            TITLES[setting[name]] if name == "dataset" else f"{name} {setting[name]}"
            for name in differing
            if name in setting
        ]
        return ", ".join([NAMES[setting["model"]], *words]).replace("_", "-")

    return dict(zip(map(title, settings), groups.values(), strict=True))


def output_files(output):
    """The .png, .md and .json to write; raises OSError or UserError if they cannot be."""
    path = Path(output)
    if path.is_dir():
        path /= "comparison"
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    files = [path.with_name(stem + suffix) for suffix in SUFFIXES]
    if stem.startswith(tuple(f"{model}_" for model in NAMES)):
        raise UserError(f"{stem} is what a run's files are called: choose another --output.")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path.parent)) from error
    for file in files:
        if file.is_dir():
            raise UserError(f"{file} is a folder: choose another --output.")
        if file.exists() and not all(other.exists() for other in files[1:]):
            raise UserError(f"{file} is there, not from a comparison: choose another --output.")
    return files


def compare(args):
    """Read, measure, draw and write, as the flags say."""
    paths = [Path(run) for run in args.runs or default_runs()]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise UserError("a comparison wants two or more runs, each given once.")
    runs = [read_run(path) for path in paths]
    results = [kept_result(run, args) for run in runs]
    files = output_files(args.output or str(paths[0].parent / "comparison"))
    set_up(0, "float32")
    read = functools.cache(read_reference)

    def reference(run):
        return read(run.dataset, args.data_dir or run.flags.get("data_dir"))

    total = results.count(None) * 5 + len(runs)
    with progress(total) as bar, sklearn.config_context(working_memory=256):  # MB

        def step(run, text):
            raise_if_interrupted()
            bar.set_description(f"{run.place}: {text}")
            bar.update()

        datasets = {}
        for run in runs:
            step(run, "data set")
            datasets[run.dataset] = reference(run).real
        columns = by_setting(
            [
                result or measure(run, reference(run), args, step)
                for run, result in zip(runs, results, strict=True)
            ]
        )
    real = {
        "real images" + (f", {TITLES[name]}" if len(datasets) > 1 else ""): values
        for name, values in datasets.items()
    }
    shown = []
    for title, group in columns.items():
        drawn = [result.run for result in group if result.run.decoder][:1]
        shown += [make_column(title, run, reference(run)) for run in drawn]
    raise_if_interrupted()
    write(files, columns, real, shown, args)


def write(files, columns, real, shown, args):
    """Write the figure, if there is something to show, and the two tables; print the table."""
    png, markdown, numbers = files if shown else (None, *files[1:])
    with contextlib.ExitStack() as stack:
        if png:
            show_comparison(shown).savefig(stack.enter_context(replacing_unlocked(png)))
        file = stack.enter_context(replacing_unlocked(markdown))
        file.write_text(to_markdown(columns, real, args, png and png.name), encoding="utf-8")
        file = stack.enter_context(replacing_unlocked(numbers))
        file.write_text(to_json(columns, real, args), encoding="utf-8")
    print(table(columns, real))
    print(f"What the rows mean is in {markdown}; unrounded, they are in {numbers}.")
    old = f" {files[0]} is an earlier one." if files[0].exists() else ""
    none = f"No figure: none of the runs has models.{old}"
    print(f"The figure: {png}." if png else none, flush=True)


def main(argv=None):
    """Compare; a note on what ends it early says what there is to do."""
    try:
        compare(get_args(argv))
    except Interrupted as stop:
        stop.add_note("Stopped; the comparison is not written.")
        raise
    except OSError as error:
        error.add_note("Mend that, or choose another --output.")
        raise
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        error.add_note("Compare fewer runs at a time.")
        raise


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # where a terminal has no ±
    run_script(main)
