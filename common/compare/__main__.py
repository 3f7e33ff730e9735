"""Compare trained runs in figures and numbers.

Without arguments, the program compares the runs on Fashion-MNIST in outputs/. A RUN is
OUTPUT_DIR/DATASET/cvae or OUTPUT_DIR/DATASET/mmd, or OUTPUT_DIR/DATASET for the runs in it. Runs
that differ only in --seed share a column. The program writes comparison.png, .md and .json beside
the first run. Two runs on Fashion-MNIST take about 3 minutes on two CPU cores.

    python -m common.compare
    python -m common.compare outputs/fashion_mnist outputs/seed1/fashion_mnist/mmd
"""

from common.program.flags import Parser, add_runs, path, whole_number
from common.program.startup import run_script, start


def get_args(argv=None):
    """Return the flags. Raise UserError for invalid flags."""
    parser = Parser("python -m common.compare", description="Compare trained runs.")
    add_runs(parser)
    help = "name of the files to write, without .png, .md and .json (default: comparison, beside "
    help += "the first run)"
    parser.add_argument("--output", type=path, metavar="FILE", help=help)
    number = {"type": whole_number(1, 100_000), "metavar": "N"}
    help = "for the importance-weighted bound (default: %(default)s)"
    parser.add_argument("--iw-samples", default=500, help=f"samples per image {help}", **number)
    parser.add_argument("--iw-images", default=400, help=f"number of test images {help}", **number)
    return parser.parse_args(argv)


if __name__ == "__main__":
    start(get_args)

import contextlib
import json
from pathlib import Path
from string import ascii_uppercase

from common.compare import report
from common.compare.evaluate import BASELINES, baselines, evaluate
from common.compare.figure import Column, show_comparison
from common.compare.judge import read_reference
from common.compare.kept import keep, kept_result
from common.data.images import progress
from common.devices.determinism import set_up
from common.load import has_models, load_run, read_run
from common.names import numbers_note
from common.plotting import save_figure
from common.program.errors import UserError
from common.program.files import replacing_unlocked
from common.program.signals import signals_wait
from common.runs import check_place, find_runs, first_of_each, images_of, tell_apart, titles
from common.training.settings import FREE_FLAGS

import sklearn
import tensorflow as tf

SUFFIXES = (".png", ".md", ".json")
IGNORED = FREE_FLAGS - {"epochs"} | {"seed"}  # Runs that differ only in these flags are repetitions


def read(folder):
    """Return the run in a folder. A run whose models were deleted has only metrics."""
    run = read_run(folder)
    kept_alone = (run.folder / "metrics.json").exists() and not has_models(run)
    return run if kept_alone else load_run(folder)


def check_seeds(runs):
    """Raise UserError if two runs have the same settings and the same seed."""
    first = {}
    for run, title in zip(runs, titles(runs, IGNORED), strict=True):
        other = first.setdefault((title, run.flags["seed"]), run)
        if other is not run:
            both = f"{other.folder} and {run.folder} have the same settings and the same seed"
            raise UserError(f"{both}, so they are not independent.\nGive only one of them.")


def by_setting(results):
    """Group Results by setting, and return a dict from column titles to lists of Results.

    If there are four or more columns, each title starts with a letter.
    """
    columns, names = {}, titles([result.run for result in results], IGNORED)
    for title, result in zip(names, results, strict=True):
        columns.setdefault(title, []).append(result)
    if not report.MOST_PLAIN < len(columns) <= len(ascii_uppercase):
        return columns
    return {f"{ascii_uppercase[i]}: {title}": columns[title] for i, title in enumerate(columns)}


def output_files(output):
    """Return the output paths. Raise OSError or UserError if a file cannot be written."""
    path, ours = Path(output), False
    if path.is_dir():
        path /= "comparison"
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    files = [path.with_name(stem + suffix) for suffix in SUFFIXES]
    check_place(path)
    with contextlib.suppress(Exception):  # A JSON file of another program can contain anything
        ours = json.loads(files[-1].read_bytes()).keys() >= {"definitions", "columns", "baselines"}
    for file in files:
        if file.exists() and not (file.is_file() and ours):
            raise UserError(f"{file} was not written by a comparison. Choose another --output.")
    return files


def replaced(file, runs):
    """Return a warning if the JSON file contains a comparison of other runs, else ""."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        columns = json.loads(file.read_bytes())["columns"]
        earlier = [Path(run["run"]) for column in columns for run in column["runs"]]
        if {*map(Path.resolve, earlier)} != {run.folder.resolve() for run in runs}:
            names = ", ".join(map(str, earlier))
            return f"Replacing {file}, which compares {names}. To keep it, use --output."
    return ""


def compare(args):
    """Read and measure the runs, and write the comparison."""
    runs = [read(folder) for folder in find_runs(args.runs)]
    for run in runs:
        if run.encoder is None:
            kept_result(run, args)  # This call raises errors before the slow measurements start
    files = output_files(args.output or runs[0].folder.parent / "comparison")
    if line := replaced(files[-1], runs):
        print(line, flush=True)
    tell_apart(runs)
    check_seeds(runs)
    firsts, references, results, found, judges, shown = first_of_each(runs), {}, [], {}, {}, []
    with progress(len(runs) + len(firsts)) as bar, sklearn.config_context(working_memory=64):  # MB
        for key, run in firsts.items():
            references[key] = read_reference(run.data(args.data_dir), run.folder.parent)
        for run in runs:
            bar.set_description(f"{run.folder}")
            reference = references[images_of(run)]
            judge = reference.judge and reference.judge.fingerprint
            if not (result := kept_result(run, args, judge)):
                keep(result := evaluate(run, reference, args), args, judge)
            results.append(result)
            bar.update()
        for key, run in firsts.items():
            bar.set_description(f"{run.title}: {', '.join(BASELINES)}")
            data = f", {run.title}" * (len(firsts) > 1)
            found |= {k + data: [one] for k, one in baselines(run, references[key]).items()}
            judge = references[key].judge
            judges[run.title] = judge.accuracy if judge else references[key].no_judge
            bar.update()
    columns = by_setting(results)
    for title, group in columns.items():
        for run in [result.run for result in group if result.run.decoder][:1]:
            data = references[images_of(run)].data
            about = f"{run.title}, epoch {run.epochs}, seed {run.flags['seed']}"
            z, mean = run.draw(64), run.encode(data.test_images)
            shown.append(Column(title, about, run.decode, z, mean, data, run.centres()))
    with signals_wait():
        write(files, (columns, found, judges), shown, args)


def write(files, found, shown, args):
    """Write the files of the comparison and print its results.

    `found` contains the columns, baselines and judges. `shown` contains the columns of the figure.
    """
    (png, markdown, numbers), (columns, baselines, _) = files, found
    with contextlib.ExitStack() as stack:
        if shown:
            save_figure(show_comparison(shown), stack.enter_context(replacing_unlocked(png)))
        file = stack.enter_context(replacing_unlocked(markdown))
        file.write_text(report.to_markdown(*found, args, shown and png.name), encoding="utf-8")
        file = stack.enter_context(replacing_unlocked(numbers))
        file.write_text(report.to_json(*found, args), encoding="utf-8")
    lettered = [title for title in columns if report.heading(title) != title]
    texts = [report.summary(columns, baselines), *lettered, report.tables(columns, baselines)]
    texts.append(report.remarks(*found))
    texts += dict.fromkeys(numbers_note(column.data.class_names) for column in shown)
    texts.append(f"The rows are defined in {markdown}. The unrounded numbers are in {numbers}.")
    old = f" {png} is from an earlier comparison." if png.exists() else ""
    none = f"There is no figure, because no run has models.{old}"
    print(*filter(None, texts), f"The figure is {png}." if shown else none, sep="\n", flush=True)


def main(argv=None):
    """Compare the runs. If memory runs out, advise the user to compare fewer runs."""
    try:
        with set_up(0, "float32"):
            compare(get_args(argv))
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        error.add_note("Compare fewer runs at a time.")
        raise


if __name__ == "__main__":
    run_script(main)
