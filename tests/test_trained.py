"""common/trained.py: a finished run is read back, or what is wrong is said in a line or two."""

import errno
import functools
import io
import json
import os
import re
import shlex
import shutil

import common.data.batches
from common.data.sources import Dataset, load_dataset
from common.load import load_run, read_run
from common.program.errors import UserError
from common.program.files import write_json
from common.training.run import Run

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread
from support import SCRIPTS, both, cut, edit_config, edit_json, few_digits, put

COLOUR = np.random.default_rng(0).integers(0, 256, (80, 12, 20, 3), dtype=np.uint8)
LABELS = np.arange(80) % 3
NOISE = tf.constant(COLOUR[:50]), LABELS[:50], COLOUR[50:], LABELS[50:], "abc"
TINY = {  # data sets by latent dimensions and dtype of the runs on them
    (2, "float32"): few_digits(),
    (1, "float64"): few_digits(),
    (3, "float32"): Dataset("digits", "Noise", *NOISE),
}


def train(model, out, case, patch, *flags):
    """A run of one short epoch; return its folder."""
    patch.setattr(common.data.batches, "EPOCH", 1)
    patch.setattr(SCRIPTS[model], "load_data", lambda *_: TINY[case])
    if case == (2, "float32"):  # nobody looks at its figures
        patch.setattr("common.training.exports.draw_figures", lambda *_: {})
    words = f"--latent-dim {case[0]} --dtype {case[1]} --epochs 1 --batch-size 50 --dataset digits"
    return SCRIPTS[model].main([*words.split(), "--output-dir", str(out), *flags]).folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function from a model and a case to a run's folder."""

    @functools.cache
    def trained(model, case):
        with pytest.MonkeyPatch.context() as patch:
            return train(model, tmp_path_factory.mktemp("out"), case, patch)

    return trained


@pytest.fixture
def copied(trained, tmp_path):
    """A function from a model to a copy of its run, to spoil."""
    small = (2, "float32")
    return lambda model: shutil.copytree(trained(model, small), tmp_path / "digits" / model)


@pytest.mark.parametrize(("model", "case"), [("mmd", (1, "float64")), ("cvae", (3, "float32"))])
def test_a_run_encodes_decodes_and_samples(model, case, trained):
    data, (latent_dim, dtype) = TINY[case], case
    run = load_run(trained(model, case))
    assert (run.flags["latent_dim"], run.flags["dtype"], run.flags["epochs"]) == (*case, 1)
    x = data.test_images
    mean = run.encode(x)
    assert (mean.shape, mean.dtype) == ((len(x), latent_dim), dtype)
    expected = run.encoder(tf.constant(x / np.array(255, dtype)))
    expected = expected[0] if model == "cvae" else expected
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.encode(x / 255), mean, rtol=1e-4, atol=1e-5)
    assert run.encode(x[:0]).shape == (0, latent_dim)
    many = run.encode(np.concatenate([x] * 30))  # whole batches of 1000, and a rest
    np.testing.assert_allclose(many, np.tile(mean, (30, 1)), rtol=1e-4, atol=1e-5)

    z, images = run.sample(1100, seed=4)
    np.testing.assert_allclose(np.cov(z.T), np.eye(latent_dim).squeeze(), atol=0.2)
    assert images.shape == (1100, *data.image_shape)
    assert 0 <= images.min() < images.max() <= 1
    logits = run.decoder(tf.constant(z[:9])).numpy()
    expected = 1 / (1 + np.exp(-logits)) if model == "cvae" else logits
    np.testing.assert_allclose(run.decode(z[:9].tolist()), expected, atol=1e-5)
    np.testing.assert_array_equal(run.sample(5, 4)[1], run.sample(5, 4)[1])
    assert not np.isclose(run.sample(5, 4)[0], run.sample(5)[0]).any()

    figures = list(run.folder.glob("*_epoch_1.png"))
    assert len(figures) == 4
    for file in figures:
        pixels = imread(file)[..., :3]
        grey = file.name.split("_")[1] != "latentspace" and data.image_shape[-1] == 1
        assert bool((pixels == pixels[..., :1]).all()) == grey


def test_its_data_and_wrong_images_and_latent_vectors(trained):
    run = load_run(trained("mmd", (2, "float32")))
    assert "digits" in repr(run)
    with pytest.raises(UserError, match="have changed since"):
        run.data()  # of all the digits, a few of which it is trained on
    run.settings["dataset"]["fingerprint"] = load_dataset("digits").fingerprint
    assert len(run.data().train_images) == 1500
    x = np.zeros((4, 28, 28, 1))
    shapes = (x[0], x[..., 0], x[:, :27], np.zeros((4, 28, 28, 3)))
    for images in (*shapes, x - 0.1, x + 255, x + np.nan):
        with pytest.raises(ValueError, match=r"these images are|from 0 to 1"):
            run.encode(images)
    for z in (np.zeros(2), np.zeros((4, 3)), np.zeros((1, 4, 2))):
        with pytest.raises(ValueError, match="should be"):
            run.decode(z)


def fails(folder, *parts):
    """Loading says what is wrong, in a line or two with these parts; return the lines."""
    with pytest.raises(UserError) as error:
        load_run(folder)
    lines = str(error.value).splitlines()
    assert 1 <= len(lines) <= 2, lines
    assert all(part in lines[0] for part in parts), lines
    return lines


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


WRONG = [
    ("encoder.keras is there, but is no regular", lambda path: put(path, os.mkfifo)),
    ("decoder.keras is there, but is no regular", lambda path: put(path, os.mkdir)),
    ("settings.json is there, but is no regular", lambda path: put(path, os.mkfifo)),
    ("decoder.keras is damaged", cut),
    ("encoder.keras is damaged", flip),
    ("settings.json is damaged", cut),
    ("settings.json is damaged", lambda path: path.write_text("[]")),
]


@pytest.mark.parametrize(("said", "spoil"), WRONG)
def test_a_wrong_file_is_named(said, spoil, copied):
    run = copied("mmd")
    spoil(run / said.split()[0])
    *_, command = fails(run, said, str(run))
    if "keras is damaged" in said:
        out = run.parent.parent
        assert command.startswith("python ")
        assert command.endswith(f"--dataset=digits --output-dir={out}")


def test_a_model_that_may_not_be_read_is_not_called_damaged(copied, monkeypatch):
    run, read = copied("mmd"), io.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith("decoder.keras"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(io, "open", refuse)
    with pytest.raises(PermissionError, match=r"decoder\.keras"):
        load_run(run)


def test_no_run_and_models_of_others(copied, trained, tmp_path):
    run, cvae = copied("mmd"), trained("cvae", (2, "float32"))
    encoder, larger = SCRIPTS["mmd"].Encoder(3), tmp_path / "larger.keras"
    encoder(np.zeros((1, 28, 28, 1), "float32"))
    encoder.save(larger)
    whole = (run / "decoder.keras").read_bytes()
    expected = load_run(run).fingerprint
    for edit in (  # what no weight depends on is not believed
        lambda config: config.pop("build_config"),  # without that, Keras would load no weights
        lambda config: config["config"].update(dtype="int8_from_float32"),
        lambda config: config["config"].update(image_shape=[28, 28, 10_000_000]),
    ):
        edit_config(run / "decoder.keras", edit)
        found = load_run(run)
        assert (found.fingerprint, found.decoder.compute_dtype) == (expected, "float32")
    (run / "decoder.keras").write_bytes(whole)
    settings = (run / "settings.json").read_bytes()
    for key, value, said in (
        ("image_shape", [32, 32, 1], "encoder.keras is damaged, or of a model of another kind"),
        ("image_shape", 32, "settings.json is damaged: values are missing or of the wrong kind"),
        ("title", "\ud800", "settings.json is damaged: values are missing or of the wrong kind"),
        ("fingerprint", [1], "settings.json is damaged: values are missing or of the wrong kind"),
    ):
        edit_json(run / "settings.json", lambda it, k=key, v=value: it["dataset"].update({k: v}))
        fails(run, said)
        (run / "settings.json").write_bytes(settings)
    (run / "settings.json").write_bytes(settings)
    edited = settings.replace(b'"seed": 0', b'"seed": 1')
    (run / "settings.json").write_bytes(edited)
    fails(run, "settings.json is damaged: it is not as it was written")
    (run / "settings.json").write_bytes(settings)
    edit_json(run / "settings.json", lambda it: it.update(models="others"))
    fails(run, "the models in", "are not those that its settings.json is of")
    (run / "settings.json").write_bytes(settings)
    for other in (run / "decoder.keras", cvae / "encoder.keras", larger):
        shutil.copy(other, run / "encoder.keras")
        fails(run, "encoder.keras is damaged, or of a model of another kind or size")
    shutil.copy(cvae / "settings.json", run)
    fails(run, "settings.json is damaged: it is of a run called 'cvae'")
    fails(run.parent, "is no run", "OUTPUT_DIR/DATASET/cvae")
    for remove in ((run / "settings.json").unlink, lambda: shutil.rmtree(run)):
        remove()
        fails(run, "there is no run in", str(run))


@both
def test_an_unfinished_run_has_the_command_that_ends_it(model, tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "epochs", lambda _: ())
    flags = ["--learning-rate", "0.003", "--tensorboard", "--data-dir=-a b"]
    run = train(model, tmp_path, (2, "float32"), monkeypatch, *flags)
    _, command = fails(run, "it is not finished")
    python, script, *words = shlex.split(command)
    assert (python, script) == ("python", f"{SCRIPTS[model].__name__}.py")
    assert vars(SCRIPTS[model].get_args(words)) == read_run(run).flags
    _, command = fails(tmp_path / "mnist" / model, "there is no run in")
    args = SCRIPTS[model].get_args(shlex.split(command)[2:])
    assert (args.dataset, args.output_dir) == ("mnist", str(tmp_path))


@pytest.mark.parametrize(("images", "dataset", "named"), [
    ("/a b/faces", None, None), (None, "emnist/letters", "emnist/letters"), (None, None, "digits")
])  # fmt: skip
def test_the_command_that_ends_a_run_names_its_images(images, dataset, named, copied, monkeypatch):
    run = copied("mmd")
    edit_json(run / "settings.json", lambda it: it["flags"].update(images=images, dataset=dataset))
    (run / "decoder.keras").unlink()
    _, command = fails(run, "it is not finished")
    args = SCRIPTS["mmd"].get_args(shlex.split(command)[2:])
    assert (args.images, args.dataset) == (images, named)
    monkeypatch.chdir(run.parent)
    assert fails("mmd", "it is not finished")[1] == command


VALUES = [
    None, True, False, 0, -1, 1.5, 10**400, float("nan"), float("inf"), -0.0, "", " ", "nan", "1",
    "--help", "\udcff", "\0", "a\nb", [], ["x"], {}, {"help": True}, "cvae", "mmd", 2**63,
]  # fmt: skip


def test_settings_with_any_values_are_said_to_be_damaged(copied):
    run = copied("cvae")
    file = run / "settings.json"
    settings, said = json.loads(file.read_text()), []
    places = [(settings, key) for key in ("model", "flags", "dataset")]
    places += [(settings["flags"], key) for key in (*settings["flags"], "help", "a b", "")]
    about = ("name", "title", "fingerprint", "image_shape")
    places += [(settings["dataset"], key) for key in about]
    for within, key in places:
        for value in VALUES:
            before = within.copy()
            within[key] = value
            write_json(file, settings)
            try:
                found = read_run(run).flags
            except UserError as error:
                said.append(str(error))
            else:  # it is a value that may be; flags that lack are at their defaults
                assert settings["flags"].items() <= found.items()
                assert value == {} or type(value) in (str, int, bool, float, type(None))
            within.clear()
            within.update(before)
    assert len(said) > 300
    assert all(re.fullmatch(rf"{file} is damaged: .+", line) for line in said), said
