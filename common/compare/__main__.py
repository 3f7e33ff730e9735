"""The program.

Without arguments, of the two runs of Fashion-MNIST in outputs/. Else RUNs are folders
OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd, or OUTPUT_DIR/DATASET for the runs in it; runs
that differ in nothing but --seed share a column. Writes comparison.png, .md and .json beside the
first run. Two runs of Fashion-MNIST take about 3 minutes on two cores.

    python -m common.compare
    python -m common.compare outputs/fashion_mnist outputs/seed1/fashion_mnist/mmd
"""

from common.program.flags import Parser, add_runs, path, whole_number
from common.program.startup import run_script, start


def get_args(argv=None):
    """The command line; raises UserError for what is unknown or malformed."""
    parser = Parser("python -m common.compare", description="Trained runs side by side.")
    add_runs(parser)
    flag = parser.add_argument
    what = "write FILE's name with .png, .md and .json (default: comparison, beside the first)"
    flag("--output", type=path, metavar="FILE", help=what)
    number = {"type": whole_number(1, 100_000), "metavar": "N"}
    what = "for the importance-weighted bound (default: %(default)s)"
    flag("--iw-samples", default=500, help=f"samples an image {what}", **number)
    flag("--iw-images", default=400, help=f"images of the test set {what}", **number)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)

import contextlib
import functools
import json
from pathlib import Path
from string import ascii_uppercase

from common.compare.evaluate import baselines, kept_result, measure, read_reference
from common.compare.figure import Column, show_comparison
from common.compare.report import (
    MOST_PLAIN,
    heading,
    remarks,
    summary,
    tables,
    to_json,
    to_markdown,
)
from common.data.images import progress
from common.devices.determinism import set_up
from common.load import has_models, load_run, read_run
from common.plotting import save_figure
from common.program.errors import UserError
from common.program.files import regular, replacing_unlocked
from common.program.signals import signals_wait
from common.runs import check_place, find_runs, first_of_each, images_of, tell_apart, titles
from common.training.settings import FREE_FLAGS

import sklearn
import tensorflow as tf

FREE_IN_COLUMN = FREE_FLAGS - {"epochs"} | {"seed"}  # flags in which a column's runs may differ
SUFFIXES = (".png", ".md", ".json")


def read(folder):
    """A run, without models if nothing but its metrics were kept."""
    run = read_run(folder)
    kept_alone = (run.folder / "metrics.json").exists() and not has_models(run)
    return run if kept_alone else load_run(folder)


def by_setting(results):
    """The results in a dict from column title to those of one setting, FREE_IN_COLUMN apart.

    The titles of more than MOST_PLAIN are long: a letter comes before each.
    """
    columns = {}
    names = titles([result.run for result in results], FREE_IN_COLUMN)
    for title, result in zip(names, results, strict=True):
        columns.setdefault(title, []).append(result)
    if not MOST_PLAIN < len(columns) <= len(ascii_uppercase):
        return columns
    return {f"{ascii_uppercase[i]}: {title}": columns[title] for i, title in enumerate(columns)}


def is_comparison(file):
    """Whether a file is the .json of a comparison."""
    with contextlib.suppress(Exception):  # whatever others raise
        content = json.loads(regular(file).read_bytes())
        return content.keys() >= {"definitions", "columns", "baselines"}
    return False


def output_files(output):
    """The .png, .md and .json to write; raises OSError or UserError if they cannot be."""
    path = Path(output)
    if path.is_dir():
        path /= "comparison"
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    files = [path.with_name(stem + suffix) for suffix in SUFFIXES]
    check_place(path)
    ours = is_comparison(files[-1])
    for file in files:
        if file.exists() and not (file.is_file() and ours):
            raise UserError(f"{file} is there, not from a comparison: choose another --output.")
    return files


def compare(args):
    """Read, measure, draw and write, as the flags say."""
    runs = [read(folder) for folder in find_runs(args.runs)]
    for run in runs:
        if run.encoder is None:
            kept_result(run, args)  # before anything takes its time
    files = output_files(args.output or runs[0].folder.parent / "comparison")
    tell_apart(runs)
    firsts = first_of_each(runs)

    @functools.cache
    def reference(name):
        run = firsts[name]
        return read_reference(run.data(args.data_dir), run.folder.parent)

    total = len(runs) * 6 + len(firsts) * 7
    with progress(total) as bar, sklearn.config_context(working_memory=64):  # MB

        def step(run, text):
            bar.set_description(f"{run.folder}: {text}")
            bar.update()

        results = []
        for run in runs:
            step(run, "data set")
            held_against = reference(images_of(run))
            judge = held_against.judge
            kept = kept_result(run, args, judge and judge.fingerprint)
            results.append(kept or measure(run, held_against, args, step))
        several, baseline_columns, judges = len(firsts) > 1, {}, {}
        for name, run in firsts.items():
            for title, values in baselines(run, reference(name), step).items():
                title = f"{title}, {run.title}" if several else title
                baseline_columns[title] = values
            if judge := reference(name).judge:
                judges[run.title] = judge.accuracy
    columns, shown = by_setting(results), []
    for title, group in columns.items():
        for run in [result.run for result in group if result.run.decoder][:1]:
            data, flags = reference(images_of(run)).data, run.flags
            about = f"{run.title}, epoch {run.epochs}, seed {flags['seed']}"
            z, mean = run.draw(64), run.encode(data.test_images)
            shown.append(Column(title, about, run.decode, z, mean, data, run.centres()))
    with signals_wait():
        write(files, (columns, baseline_columns, judges), shown, args)


def write(files, found, shown, args):
    """Write the figure, if there is something to show, and the two tables; print the table.

    `found` are the columns, baselines and judges of report.py.
    """
    png, markdown, numbers = files
    columns, baseline_columns, _ = found
    with contextlib.ExitStack() as stack:
        if shown:
            save_figure(show_comparison(shown), stack.enter_context(replacing_unlocked(png)))
        file = stack.enter_context(replacing_unlocked(markdown))
        file.write_text(to_markdown(*found, args, shown and png.name), encoding="utf-8")
        file = stack.enter_context(replacing_unlocked(numbers))
        file.write_text(to_json(*found, args), encoding="utf-8")
    if differences := summary(columns, baseline_columns):
        print(differences)
    for title in columns:
        if heading(title) != title:
            print(title)
    print(tables(columns, baseline_columns))
    print(remarks(*found))
    print(f"What the rows mean is in {markdown}; unrounded, they are in {numbers}.")
    old = f" {png} is an earlier one." if png.exists() else ""
    none = f"No figure: none of the runs has models.{old}"
    print(f"The figure: {png}." if shown else none, flush=True)


def main(argv=None):
    """Compare; a note on what ends it early says what there is to do."""
    try:
        with set_up(0, "float32"):
            compare(get_args(argv))
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        error.add_note("Compare fewer runs at a time.")
        raise


if __name__ == "__main__":
    run_script(main)
