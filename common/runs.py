"""Find finished runs, choose their titles, and check the folder of an output file."""

from pathlib import Path

from common.program.errors import UserError
from common.program.files import check_writable
from common.program.flags import as_text, dashed, given
from common.training.folder import MODELS

NAMES = {"cvae": "CVAE", "mmd": "MMD-VAE"}  # Titles contain these model names


def find_runs(folders):
    """Return the folders of all runs in the given folders. By default, search outputs."""
    if not folders:
        all_runs = [f.parent for m in MODELS for f in Path("outputs").glob(f"*/{m}/settings.json")]
        found = sorted({run.parent.name for run in all_runs})
        if len(found) > 1 and "fashion_mnist" not in found:
            several = f"The folder outputs contains runs on {' and '.join(found)}"
            raise UserError(f"{several}. Give the folder of one data set.")
        name = found[0] if len(found) == 1 else "fashion_mnist"
        runs = [run for run in all_runs if run.parent.name == name]
        return runs or [Path("outputs", name, model) for model in MODELS]
    runs = []
    for folder in map(Path, folders):
        inside = [folder / model for model in MODELS]
        runs += [run for run in inside if (run / "settings.json").exists()] or [folder]
    if len({run.resolve() for run in runs}) < len(runs):
        raise UserError(f"A run is given twice: {', '.join(map(str, runs))}. Give each run once.")
    return runs


def images_of(run):
    """Return the name, shape and fingerprint of a run's data set, which identify its images."""
    dataset = run.settings["dataset"]
    return dataset["name"], " x ".join(map(str, dataset["image_shape"])), dataset["fingerprint"]


def first_of_each(runs):
    """Return a dict with the first run on each data set. The keys are results of `images_of`."""
    firsts = {}
    for run in runs:
        firsts.setdefault(images_of(run), run)
    return firsts


def tell_apart(runs):
    """Make data set titles unique by adding the image shape and, if necessary, a number."""
    images = {}
    for run in runs:
        images.setdefault(run.title, {})[images_of(run)] = None
    for run in runs:
        if len(same := [*images[run.title]]) > 1:
            of_run, shapes = images_of(run), [shape for _, shape, _ in same]
            number = f" ({same.index(of_run) + 1})" * (shapes.count(of_run[1]) > 1)
            run.title += f" {of_run[1]}{number}"


def words(flags):
    """Return a list of flags as text without the leading "--", such as `vamp-prior 500`."""
    texts = {k: "" if v is True else f" {as_text(v)}".removesuffix(".0") for k, v in flags.items()}
    return [dashed(name) + text for name, text in texts.items()]


def titles(runs, ignored):
    """Return one title per run, such as "CVAE, beta 1".

    A title contains the model, and also the data set and the flags if they differ between the runs.
    The titles do not contain the flags in `ignored`.
    """
    found = []
    for run in runs:
        flags = given(run.flags | {"epochs": run.epochs})
        found.append((run.title, *words({k: v for k, v in flags.items() if k not in ignored})))
    shared = set.intersection(*map(set, found))
    differing = [[word for word in more if word not in shared] for more in found]
    return [", ".join([NAMES[run.model], *d]) for run, d in zip(runs, differing, strict=True)]


def check_place(path):
    """Create the parent folder of an output file. Raise UserError if a run is in that folder."""
    folder = path.parent
    if (folder / "settings.json").exists():
        raise UserError(f"{folder} is the folder of a run. Choose another --output.")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder)
