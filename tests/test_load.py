"""Finished, unfinished and damaged runs are loaded: common/load.py."""

import errno
import io
import shlex
import shutil
import subprocess
import sys

from common.load import load_run, read_run
from common.program.errors import UserError
from common.training.run import Run

import numpy as np
import pytest
from small_runs import folder
from support import ROOT, SCRIPTS, both, cut, edit_config, edit_json, environment


@pytest.fixture
def run(copied):
    """Return the folder of a finished run of mmd_cvae.py."""
    return copied("mmd", done=True)


def error_of(folder, *named):
    """Return the lines of the error of `load_run`. The first line must contain `named`."""
    with pytest.raises(UserError) as error:
        load_run(folder)
    lines = str(error.value).splitlines()
    assert 1 <= len(lines) <= 2, lines
    assert all(part in lines[0] for part in named), lines
    return lines


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


DAMAGES = [
    ("decoder.keras", lambda path: path.unlink() or path.mkdir()),
    ("decoder.keras", cut),
    ("encoder.keras", flip),
    ("settings.json", cut),
    ("settings.json", lambda path: path.write_text("[]")),
    ("settings.json", lambda path: path.write_text(path.read_text().replace('ed": 0', 'ed": 1'))),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_an_error_names_the_damaged_file(name, damage, run):
    damage(run / name)
    *_, command = error_of(run, str(run / name))
    if name != "settings.json" and (run / name).is_file():
        python, script, *words = shlex.split(command)
        assert (python, script) == ("python", "mmd_cvae.py")
        assert {"--dataset=digits", f"--output-dir={run.parents[1]}"} < {*words}


def test_an_unreadable_model_raises_permission_error(run, monkeypatch):
    def refuse(path, *args, read=io.open, **kwargs):
        if str(path).endswith("decoder.keras"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(io, "open", refuse)
    with pytest.raises(PermissionError, match=r"decoder\.keras"):
        load_run(run)


def test_the_configuration_of_a_model_file_is_ignored(run):
    expected = load_run(run).fingerprint
    for edit in (
        lambda config: config.pop("build_config"),  # Keras would load no weights without it
        lambda config: config["config"].update(dtype="int8_from_float32"),
        lambda config: config["config"].update(image_shape=[28, 28, 10_000_000]),
    ):
        edit_config(run / "decoder.keras", edit)
        found = load_run(run)
        assert (found.fingerprint, found.decoder.compute_dtype) == (expected, "float32")


def test_files_of_other_runs_are_refused(run, copied, tmp_path):
    cvae, settings = copied("cvae", done=True), (run / "settings.json").read_bytes()
    edit_json(run / "settings.json", lambda it: it["dataset"].update(image_shape=[32, 32, 1]))
    error_of(run, "encoder.keras")
    (run / "settings.json").write_bytes(settings)
    edit_json(run / "settings.json", lambda it: it.update(models="others"))
    error_of(run, "models", "settings.json")
    (run / "settings.json").write_bytes(settings)
    encoder, larger = SCRIPTS["mmd"].Encoder(3), tmp_path / "larger.keras"
    encoder(np.zeros((1, 28, 28, 1), "float32"))
    encoder.save(larger)
    for other in (run / "decoder.keras", cvae / "encoder.keras", larger):
        shutil.copy(other, run / "encoder.keras")
        error_of(run, "encoder.keras")
    shutil.copy(cvae / "settings.json", run)
    error_of(run, "settings.json", "cvae")


def test_an_error_names_a_folder_without_a_run(run):
    error_of(run.parent, str(run.parent), str(run))
    error_of(run.parent.parent, str(run.parent.parent), "OUTPUT_DIR/DATASET/cvae")
    shutil.copytree(run, run.parent / "kept" / run.name, ignore=shutil.ignore_patterns("*coder*"))
    kept = run.parent / "kept" / run.name
    shutil.rmtree(kept / "checkpoints", ignore_errors=True)
    assert "--output-dir=outputs/again" in error_of(kept, str(kept))[1].replace("\\", "/")
    (run / "settings.json").unlink()
    error_of(run, str(run / "settings.json"), "missing")
    shutil.rmtree(run)
    error_of(run, str(run))


KERAS = """
import importlib, sys
module, folder = sys.argv[1:]
importlib.import_module(module)
import keras, numpy as np
encoder, decoder = (keras.models.load_model(f"{folder}/{k}.keras") for k in ("encoder", "decoder"))
outputs, sigmoid = encoder(np.full((3, 28, 28, 1), 0.5, "float32")), keras.ops.sigmoid
mean, last = (outputs[0], sigmoid) if module == "eager_cvae" else (outputs, lambda images: images)
np.savez(f"{folder}/found", mean=mean, images=last(decoder(mean)))
"""


@pytest.mark.slow
@both
def test_keras_alone_loads_the_models_after_an_import_of_the_script(model, copied):
    """Load the models in a new process, as outputs/README.md says."""
    place = copied(model, done=True)
    command = [sys.executable, "-c", KERAS, SCRIPTS[model].__name__, place]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(), timeout=120)
    run, found = load_run(place), np.load(place / "found.npz")
    mean = run.encode(np.full((3, 28, 28, 1), 0.5))
    np.testing.assert_allclose(found["mean"], mean, atol=1e-5)
    np.testing.assert_allclose(found["images"], run.decode(mean), atol=1e-5)


@both
def test_the_error_of_an_unfinished_run_has_its_command(model, here, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "epochs", lambda _: ())
    here(model, "--learning-rate", "0.003", "--data-dir=-a b")
    run = folder(tmp_path, model)
    _, command = error_of(run, "not finished")
    python, script, *words = shlex.split(command)
    assert (python, script) == ("python", f"{SCRIPTS[model].__name__}.py")
    assert vars(SCRIPTS[model].get_args(words)) == read_run(run).flags
    _, command = error_of(tmp_path / "mnist" / model, "no run")
    args = SCRIPTS[model].get_args(shlex.split(command)[2:])
    assert (args.dataset, args.output_dir) == ("mnist", str(tmp_path))


@pytest.mark.parametrize(("images", "dataset", "named"), [
    ("/a b/faces", None, None), (None, "emnist/letters", "emnist/letters"), (None, None, "digits")
])  # fmt: skip
def test_the_command_names_the_images_of_the_run(images, dataset, named, run, monkeypatch):
    edit_json(run / "settings.json", lambda it: it["flags"].update(images=images, dataset=dataset))
    (run / "decoder.keras").unlink()
    _, command = error_of(run, "not finished")
    args = SCRIPTS["mmd"].get_args(shlex.split(command)[2:])
    assert (args.images, args.dataset) == (images, named)
    monkeypatch.chdir(run.parent)
    assert error_of("mmd", "not finished")[1] == command
