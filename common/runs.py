"""Several finished runs: find them, name them, and choose where a program on them may write."""

from pathlib import Path

from common.program.errors import UserError
from common.program.files import check_writable
from common.program.flags import dashed, given
from common.training.folder import MODELS

NAMES = {"cvae": "CVAE", "mmd": "MMD-VAE"}


def find_runs(folders):
    """Return the folders of runs that the user means.

    Args:
        folders: folders of runs, or folders that contain runs. Without any, the runs on
            Fashion-MNIST in outputs/, or those on the only data set there.

    Raises:
        UserError: a run is given twice, or it is unclear which data set is meant.
    """
    if not folders:
        files = [f for model in MODELS for f in Path("outputs").glob(f"*/{model}/settings.json")]
        found = sorted({file.parents[1].name for file in files})
        if len(found) > 1 and "fashion_mnist" not in found:
            raise UserError(
                f"outputs contains runs on {' and '.join(found)}. Give the folder of one data set."
            )
        name = found[0] if len(found) == 1 else "fashion_mnist"
        return [Path("outputs", name, model) for model in MODELS]
    runs = []
    for folder in map(Path, folders):
        inside = [folder / model for model in MODELS]
        runs += [run for run in inside if (run / "settings.json").exists()] or [folder]
    if len({run.resolve() for run in runs}) < len(runs):
        raise UserError(f"A run is given twice: {', '.join(map(str, runs))}. Give each run once.")
    return runs


def images_of(run):
    """Return what identifies the images of a run: name, shape and fingerprint of the data set."""
    dataset = run.settings["dataset"]
    return dataset["name"], " x ".join(map(str, dataset["image_shape"])), dataset["fingerprint"]


def first_of_each(runs):
    """Return a dict from each data set, as in `images_of`, to the first of the runs on it."""
    firsts = {}
    for run in runs:
        firsts.setdefault(images_of(run), run)
    return firsts


def tell_apart(runs):
    """Make the titles of different images different. Add their shape, and a number if necessary."""
    groups = {}
    for run in runs:
        groups.setdefault(run.title, {}).setdefault(images_of(run), []).append(run)
    for images in [images for images in groups.values() if len(images) > 1]:
        shapes = [shape for _, shape, _ in images]
        for number, ((_, shape, _), group) in enumerate(images.items(), 1):
            for run in group:
                run.title += f" {shape}" + f" ({number})" * (shapes.count(shape) > 1)


def words(flags):
    """Return flags as the user types them, without dashes in front: `vamp-prior 500`."""
    return [
        dashed(name) + ("" if value is True else f" {value}".removesuffix(".0"))
        for name, value in flags.items()
    ]


def titles(runs, ignored):
    """Return a title per run: the name of its model, and the data set and flags that differ.

    Args:
        runs: the runs, common.trained.Trained each.
        ignored: names of flags that are not part of the titles.
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
    """Create the folder of `path`. Raise OSError or UserError if nothing may be written there."""
    folder = path.parent
    if (folder / "settings.json").exists():
        raise UserError(f"{folder} is the folder of a run. Choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder)
