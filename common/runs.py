"""Finished runs, several: which ones are meant, what each is called, and where to write of them."""

from pathlib import Path

from common.program.errors import UserError
from common.program.files import check_writable
from common.program.flags import dashed, given
from common.training.folder import MODELS

NAMES = {"cvae": "CVAE", "mmd": "MMD-VAE"}


def find_runs(folders):
    """The runs' folders; for a folder that is none, those in it; by default, of Fashion-MNIST.

    Or else of the one data set that has any. Raises UserError where one is given twice, or there
    are several data sets to choose from.
    """
    if not folders:
        files = [f for model in MODELS for f in Path("outputs").glob(f"*/{model}/settings.json")]
        found = sorted({file.parents[1].name for file in files})
        if len(found) > 1 and "fashion_mnist" not in found:
            raise UserError(f"outputs has runs of {' and '.join(found)}: say which.")
        name = found[0] if len(found) == 1 else "fashion_mnist"
        return [Path("outputs", name, model) for model in MODELS]
    runs = []
    for folder in map(Path, folders):
        inside = [folder / model for model in MODELS]
        runs += [run for run in inside if (run / "settings.json").exists()] or [folder]
    if len({run.resolve() for run in runs}) < len(runs):
        raise UserError("a run is given twice.")
    return runs


def images_of(run):
    """What tells the images of one run from those of another: name, shape, fingerprint."""
    dataset = run.settings["dataset"]
    return dataset["name"], " x ".join(map(str, dataset["image_shape"])), dataset["fingerprint"]


def first_of_each(runs):
    """The first of the runs on each data set, by `images_of`."""
    firsts = {}
    for run in runs:
        firsts.setdefault(images_of(run), run)
    return firsts


def tell_apart(runs):
    """Give data sets that share a title, and not their images, titles of their own.

    Their shape comes after it, and a number where that is the same.
    """
    groups = {}
    for run in runs:
        groups.setdefault(run.title, {}).setdefault(images_of(run), []).append(run)
    for images in [images for images in groups.values() if len(images) > 1]:
        shapes = [shape for _, shape, _ in images]
        for number, ((_, shape, _), group) in enumerate(images.items(), 1):
            for run in group:
                run.title += f" {shape}" + f" ({number})" * (shapes.count(shape) > 1)


def words(flags):
    """Flags as one writes them, without the dashes in front: `vamp-prior 500`, `cross-entropy`."""
    return [
        dashed(name) + ("" if value is True else f" {value}".removesuffix(".0"))
        for name, value in flags.items()
    ]


def titles(runs, ignored):
    """What each run is called: its model's name, and what is not the same in all of them.

    Data set and flags, but for the flags that are `ignored`.
    """
    found = []
    for run in runs:
        flags = {name: value for name, value in given(run.flags).items() if name not in ignored}
        found.append((NAMES[run.model], run.title, *words(flags)))
    shared = set.intersection(*map(set, found))
    return [
        ", ".join([model, *(word for word in more if word not in shared)]) for model, *more in found
    ]


def check_place(path):
    """Make the folder of `path` and see that it can be written to, and is not a run's own.

    Raises OSError or UserError if not.
    """
    folder = path.parent
    if (folder / "settings.json").exists():
        raise UserError(f"{folder} is a run's folder: choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder)
