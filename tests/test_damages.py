"""Damage the files of a run at random: nothing wrong is used, and no other file is changed.

`python -m pytest -m soak tests/test_damages.py -s` makes 1,000 damages and prints their outcomes.
"""

import json
import random
import shutil
import signal
from collections import Counter

from common import animate
from common.compare import __main__ as comparison
from common.compare import evaluate, judge
from common.explore import __main__ as explore
from common.load import load_run
from common.program.errors import UserError
from common.program.files import read_json

import pytest
from explorer import in_page
from small_runs import shorten, state
from support import SCRIPTS, call, edit_config, few_digits, set_weights_to_zero, snapshot

EPOCHS = 2
FLAGS = ("--dataset", "digits", "--batch-size", 30, "--tensorboard", "--plot-every", 1)
COMPARE = ("--iw-samples", 2, "--iw-images", 9)
HOSTILE = (None, True, -1, 2.5, 10**400, 1e308, float("nan"), float("inf"), "", "\ud800", "$x^{$")
HOSTILE += ("int8_from_float32", "float16", 10**7, "../../outside", "/etc/passwd")
HOSTILE += ([], {}, [[[]]], "</script>", "日本")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Shorten runs and comparisons."""
    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        patch.setattr(evaluate, "PRIOR_DRAWS", 100)
        patch.setattr(judge, "EPOCHS", 1)
        patch.setattr("common.trained.load_dataset", few_digits)
        yield


def train(model, out, epochs=EPOCHS, *flags):
    return call(model, *FLAGS, "--epochs", epochs, "--output-dir", out, *flags)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Return a folder with compared runs of both scripts, longer ones, and one of another seed."""
    out = tmp_path_factory.mktemp("clean")
    for model in SCRIPTS:
        assert train(model, out / "runs") == 0
        assert call(comparison.main, out / "runs" / "digits" / model, *COMPARE) == 0
        shutil.copytree(out / "runs" / "digits" / model, out / "longer" / "digits" / model)
        assert train(model, out / "longer", EPOCHS + 1) == 0
    assert train("mmd", out / "others", EPOCHS, "--seed", 1) == 0
    assert call(comparison.main, out / "others" / "digits" / "mmd", *COMPARE) == 0
    return out


# Damages: functions of a random.Random, the path of a file, and a folder with other files


def change_bytes(rng, path, _):
    content = bytearray(path.read_bytes())
    for _ in range(rng.randint(1, 20)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)


def cut(rng, path, _):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def lengthen(rng, path, _):
    path.write_bytes(path.read_bytes() + rng.randbytes(rng.randint(1, 99)))


def delete(rng, path, _):
    path.unlink()


def swap(rng, path, outside):
    """Replace the file by a copy of another file of this run or of another run."""
    others = sorted(one for one in outside.parent.rglob(f"*{path.suffix}") if one.is_file())
    shutil.copy(rng.choice(others), path.with_name("new"))
    path.with_name("new").replace(path)


def edit(rng, path, outside):
    """Change a value in JSON, the weights or configuration of a model, or a digit elsewhere."""
    if path.suffix == ".json":
        content = json.loads(path.read_text())
        _edit_value(rng, content)
        path.write_text(json.dumps(content))
    elif path.suffix == ".keras":
        if rng.random() < 0.5:
            set_weights_to_zero(path)
        else:
            edit_config(path, lambda config: _edit_value(rng, config))
    else:
        content = path.read_bytes()
        digits = [i for i, byte in enumerate(content) if chr(byte).isdigit()]
        if digits:
            at = rng.choice(digits)
            path.write_bytes(content[:at] + b"8-e,\xff"[rng.randrange(5) :][:1] + content[at + 1 :])


def _edit_value(rng, content):
    while isinstance(content, (dict, list)) and content:
        key = rng.choice([*content] if isinstance(content, dict) else range(len(content)))
        if not content[key] or not isinstance(content[key], (dict, list)) or rng.random() < 0.2:
            break
        content = content[key]
    else:
        return
    if isinstance(content, dict) and rng.random() < 0.2:
        del content[key]
    else:
        content[key] = rng.choice(HOSTILE)


DAMAGES = (change_bytes, cut, lengthen, delete, swap, edit, edit)

# Actions on a damaged run, which check their outcome and return an exit status


def load(run, model, clean):
    """Load the run: the models are those of the clean run, or there is an error."""
    try:
        found = load_run(run)
    except (UserError, OSError):
        return 2
    assert found.fingerprint == load_run(clean / "runs" / "digits" / model).fingerprint
    assert found.settings["flags"]["seed"] == 0
    return 0


def resume(run, model, clean, epochs=EPOCHS):
    """Run the script: the run ends as if it had never been damaged, or there is an error."""
    status = train(model, run.parents[1], epochs)
    if status == 0:
        whole = clean / ("runs" if epochs == EPOCHS else "longer") / "digits" / model
        for path in run.glob(f"*_epoch_[!{epochs}].*png"):  # these are not written again
            path.unlink()
        *found, figures, _ = state(run)
        *expected, whole_figures, _ = state(whole)
        assert found == expected
        last = {name for name in whole_figures if f"_epoch_{epochs}." in name}
        assert last <= figures.keys()
        assert figures.items() <= whole_figures.items()
    return status


def extend(run, model, clean):
    return resume(run, model, clean, EPOCHS + 1)


def start_over(run, model, clean):
    """Run the script with --fresh: the run is as a new one, or nothing is deleted."""
    before = snapshot(run)
    status = train(model, run.parents[1], EPOCHS, "--fresh")
    if status == 0:
        *found, figures, _ = state(run)
        *expected, whole_figures, _ = state(clean / "runs" / "digits" / model)
        found[1]["flags"]["fresh"] = False
        assert (found, figures) == (expected, whole_figures)
    else:
        assert snapshot(run) == before
    return status


def animate_figures(run, model, clean):
    return call(animate.main, run)


def show(run, model, clean):
    """Write the explorer's page: it shows the clean run, perhaps without losses or metrics."""
    status, page = call(explore.main, run, "--output", run.parents[1] / "page.html"), {}
    if status == 0:
        for place in (run, clean / "runs" / "digits" / model):
            assert call(explore.main, place, "--output", run.parents[1] / "page.html") == 0
            data = json.loads(in_page(run.parents[1] / "page.html")["data"])
            (panel,) = data["runs"]
            page[place] = {one["title"]: one["rows"] for one in panel.pop("tables")}, data
        (tables, found), (whole, expected) = page.values()
        assert found == expected
        del tables["Flags"], whole["Flags"]  # they contain the folder
        assert tables.items() <= whole.items()
    return status


def measure(run, model, clean):
    """Compare the run: its metrics are those of the clean run."""
    status = call(comparison.main, run, *COMPARE)
    if status == 0:
        expected = read_json(clean / "runs" / "digits" / model / "metrics.json")["values"]
        found = json.loads((run.parent / "comparison.json").read_text())["columns"][0]["runs"][0]
        assert found["metrics"] == expected
    return status


ACTIONS = {load: 7, resume: 5, start_over: 2, extend: 2, animate_figures: 1, show: 2, measure: 2}


def slow(*_):
    raise TimeoutError("more than a minute")


def attack(rng, clean, place, capsys):
    """Damage a copy of a run and act on it. Return the action, the damages and the exit status."""
    model = rng.choice([*SCRIPTS, "mmd"])
    run = shutil.copytree(clean / "runs" / "digits", place / "digits") / model
    outside = place / "outside"
    shutil.copytree(clean / "others" / "digits" / "mmd", outside)
    (outside / "precious").write_text("mine")
    before, done, damaged = snapshot(outside), [], set()
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        files = [p for p in run.rglob("*") if p.is_file() and not p.is_symlink()]
        files += [p for p in run.parent.glob("comparison.*") if p.is_file()]
        # A file that is already damaged can no longer be edited
        path, damage = rng.choice(sorted({*files} - damaged)), rng.choice(DAMAGES)
        damaged.add(path)
        if path.stat().st_size or damage not in (change_bytes, cut):
            done.append(f"{damage.__name__} {path.name}")
            damage(rng, path, outside)
    (act,) = rng.choices([*ACTIONS], ACTIONS.values())
    signal.signal(signal.SIGALRM, slow)
    signal.alarm(60)
    try:
        status = act(run, model, clean)
    except Exception as error:
        error.add_note(f"{act.__name__} of {model} after {done}: {''.join(capsys.readouterr())}")
        raise
    finally:
        signal.alarm(0)
    said = capsys.readouterr()
    context = act.__name__, model, done, status, said
    assert status in (0, 1, 2), context
    assert "Traceback" not in said.out + said.err, context
    if status and act is not load:
        assert 1 <= len(said.err.splitlines()) <= 3, context
    assert snapshot(outside) == before, context
    return act.__name__, done, status


@pytest.mark.parametrize(
    ("seed", "n"), [(0, 12), *(pytest.param(s, 100, marks=pytest.mark.soak) for s in range(1, 11))]
)
def test_random_damages(seed, n, clean, tmp_path, capsys):
    rng, found, damages = random.Random(seed), Counter(), 0
    while damages < n:
        place = tmp_path / str(damages)
        act, done, status = attack(rng, clean, place, capsys)
        shutil.rmtree(place)
        damages += len(done)
        for one in done:
            found[one.split()[0], act, "correct" if status == 0 else "refused"] += 1
    whole = sum(count for key, count in found.items() if key[-1] == "correct")
    assert whole > damages / 2  # most damages are repaired
    with capsys.disabled():
        for key, count in sorted(found.items()) if n > 12 else ():
            print("\n| " + " | ".join((*key, str(count))) + " |", end="")
