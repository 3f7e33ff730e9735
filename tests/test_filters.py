"""Networks with other numbers of layers: the flag --filters."""

import dataclasses
import itertools
import math

import eager_cvae
from common.compare.evaluate import before_training
from common.data.images import choose_size
from common.data.sources import load_dataset
from common.load import load_run, read_run
from common.program.errors import UserError
from common.program.files import read_json
from common.runs import titles
from common.training import messages, settings

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_runs import folder, losses, state
from support import SCRIPTS, each, few_digits

slow = pytest.mark.slow
NETWORKS = [((8,), (20, 12, 1)), ((4, 6, 5), (16, 24, 3)), ((3, 4, 5, 6), (48, 32, 1))]


def build(script, latent_dim, image_shape, filters):
    encoder = script.Encoder(latent_dim, filters)
    decoder = script.Decoder(latent_dim, image_shape, filters)
    encoder(tf.zeros((1, *image_shape), keras.config.floatx()))
    decoder(tf.zeros((1, latent_dim), keras.config.floatx()))
    return encoder, decoder


@each
@pytest.mark.parametrize(("filters", "image_shape"), NETWORKS)
def test_the_number_of_weights_and_the_shapes(script, filters, image_shape):
    encoder, decoder = build(script, 3, image_shape, filters)
    (height, width, channels), k = image_shape, len(filters)
    inputs, outputs = [channels, *filters], 6 if script is eager_cvae else 3
    convolutions = {f"conv{i}": (9 * inputs[i - 1] + 1) * inputs[i] for i in range(1, k + 1)}
    left = (height // 2**k - 1) * (width // 2**k - 1) * filters[-1]  # "valid" drops a border
    expected = convolutions | {"flatten": 0, "dense": (left + 1) * outputs}
    assert {one.name: one.count_params() for one in encoder.layers} == expected
    first = height * width * filters[0] // 4**k
    down = [filters[0], *reversed(filters), channels]
    shapes = itertools.pairwise(down)
    expected = {f"deconv{i}": (9 * a + 1) * b for i, (a, b) in enumerate(shapes, 1)}
    expected = {"dense": 4 * first, "reshape": 0} | expected
    assert {one.name: one.count_params() for one in decoder.layers} == expected
    assert len(expected) == k + 3
    assert decoder(tf.zeros((5, 3))).shape == (5, *image_shape)


@each
@pytest.mark.parametrize(("filters", "image_shape"), NETWORKS)
def test_models_with_other_filters_compute_their_layers(script, filters, image_shape, float64):
    """Compute the convolutions as products with matrices, from their definition."""
    models, rng = build(script, 2, image_shape, filters), np.random.default_rng(0)
    for weight in [weight for model in models for weight in model.weights]:  # biases too
        weight.assign(rng.normal(size=weight.shape) / math.sqrt(max(weight.shape[-1], 4)))
    x = images = rng.random((2, *image_shape))
    *w, kernel, bias = [weight.numpy() for weight in models[0].weights]
    for weights, b in zip(w[::2], w[1::2], strict=True):
        x = np.maximum(convolve(x, weights) + b, 0)
    outputs = x.reshape(2, -1) @ kernel + bias
    found = np.concatenate(tf.nest.flatten(models[0](images)), axis=1)
    np.testing.assert_allclose(found, outputs, rtol=1e-9, atol=1e-12)

    z, k = rng.normal(size=(2, 2)), len(filters)
    kernel, bias, *w = [weight.numpy() for weight in models[1].weights]
    shape = image_shape[0] // 2**k, image_shape[1] // 2**k, filters[0]
    x = np.maximum(z @ kernel + bias, 0).reshape(2, *shape)
    for i, (weights, b) in enumerate(zip(w[::2], w[1::2], strict=True)):
        stride = 2 if i < k else 1
        x = transposed(x, weights, stride) + b
        x = np.maximum(x, 0) if i < k else x
    x = x if script is eager_cvae else 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(models[1](z), x, rtol=1e-9, atol=1e-12)


def convolve(x, kernel):
    """Return a convolution with stride 2 and without padding."""
    height, width = ((side - 1) // 2 for side in x.shape[1:3])
    parts = [
        x[:, i : i + 2 * height : 2, j : j + 2 * width : 2][:, :height, :width] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    ]
    return sum(parts)


def transposed(x, kernel, stride):
    """Return a transposed convolution with padding "same"."""
    n, height, width, _ = x.shape
    out = np.zeros((n, stride * height + 2, stride * width + 2, kernel.shape[2]))
    for i in range(3):
        for j in range(3):
            rows, columns = (
                slice(i, i + stride * height, stride),
                slice(j, j + stride * width, stride),
            )
            out[:, rows, columns] += x @ kernel[i, j].T
    crop = 1 if stride == 1 else 0
    return out[:, crop : crop + stride * height, crop : crop + stride * width]


@each
def test_models_keep_their_filters_in_a_file(script, tmp_path):
    for model in build(script, 2, (16, 24, 3), (4, 6, 5)):
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.filters == (4, 6, 5)
        for a, b in zip(model.weights, loaded.weights, strict=True):
            np.testing.assert_array_equal(a, b)
        old = {k: v for k, v in model.get_config().items() if k != "filters"}
        assert type(model).from_config(old).filters == (32, 64)  # a file of an earlier version


# Sizes of images and flags ----------------------------------------------------


def test_images_get_the_nearest_valid_size():
    for (stored, convolutions), size in {
        ((30, 17), 1): (32, 16), ((28, 28), 1): (28, 28), ((5, 5), 1): (8, 8),
        ((28, 28), 3): (32, 32), ((32, 48), 3): (32, 48), ((5, 13), 3): (16, 16),
        ((100, 60), 4): (96, 64), ((600, 300), 4): (256, 128), ((33, 32), 5): (64, 64),
        ((70, 300), 6): (128, 256),
    }.items():  # fmt: skip
        found, notes = choose_size({stored}, None, convolutions)
        assert found == size
        assert [f"{size[0]} x {size[1]}" in note for note in notes] == [True] * (size != stored)
        several = choose_size({stored, (9, 9)}, None, convolutions)[0]
        assert several == ((128, 128) if convolutions == 6 else (64, 64))


@each
@pytest.mark.parametrize(("argv", "named"), [
    ("--filters", "--filters"), ("--filters 0", "--filters 0"), ("--filters 32 1025", "1025"),
    ("--filters 8.5", "8.5"), ("--filters 1 1 1 1 1 1 1", "--filters 6"),
    ("--filters 8 8 8 --image-size 28", "--filters --image-size 28x28 8 16 256"),
    ("--filters 8 8 8 --image-size 32x8", "--image-size 32x8 16"),
    ("--filters 8 8 8 8 8 8 --image-size 64", "--image-size 64x64 64 128"),
    ("--filters 8 --image-size 31", "--image-size 31x31 2"),
])  # fmt: skip
def test_an_error_names_invalid_filters_and_sizes(script, argv, named):
    with pytest.raises(UserError) as error:
        script.get_args(argv.split())
    assert [word for word in named.split() if word not in str(error.value)] == []


@each
def test_valid_filters_and_the_default(script):
    assert script.get_args(["--filters", "8", "--image-size", "28x12"]).filters == [8]
    given = script.get_args(["--filters", "32", "64", "--image-size", "28"])
    assert vars(given) == vars(script.get_args(["--image-size", "28"]))


# Runs -------------------------------------------------------------------------


@pytest.fixture
def resized(here, monkeypatch):
    """Let the scripts train on the first digits, in a size that fits --filters."""

    def load(args):
        whole, few = load_dataset("digits", convolutions=len(args.filters)), few_digits()
        images = {"train_images": whole.train_images[:60], "test_images": whole.test_images[:40]}
        return dataclasses.replace(few, **images, notes=whole.notes)

    for script in SCRIPTS.values():
        monkeypatch.setattr(script, "load_data", load)
    return here


@pytest.mark.parametrize(("model", "filters"), [
    ("mmd", (4, 6, 5)),
    pytest.param("cvae", (8,), marks=slow),
    pytest.param("mmd", (8,), marks=slow),
    pytest.param("cvae", (4, 6, 5), marks=slow),
    pytest.param("mmd", (3, 4, 5, 6), marks=slow),
])  # fmt: skip
def test_runs_with_other_filters_are_resumed_and_loaded(model, filters, resized, tmp_path):
    flags, whole = ["--filters", *map(str, filters)], tmp_path / "whole"
    output = resized(model, *flags, "--output-dir", whole)
    assert f"filters {' '.join(flags[1:])}" in output.splitlines()[0]
    side = 28 if len(filters) == 1 else 32
    assert (f"to {side} x {side}, a valid size for --filters" in output) == (side == 32)
    resized(model, *flags, "--epochs", "1")
    run = folder(tmp_path, model)
    for others in ([], ["--filters", "8", "8"], ["--filters", *flags[:0:-1], "8"]):
        output = resized(model, *others, status=2)
        now = " ".join(others[1:]) or "32 64"
        assert f"--filters was {' '.join(flags[1:])} and is now {now}" in output
    resized(model, *flags)
    assert state(run)[:4] == state(folder(whole, model))[:4]  # without the figures of epoch 1
    assert read_json(run / "settings.json")["flags"]["filters"] == [*filters]

    loaded = load_run(run)
    assert loaded.encoder.filters == loaded.decoder.filters == filters
    z, images = loaded.sample(3)
    assert (z.shape, images.shape) == ((3, 2), (3, side, side, 1))
    untrained = before_training(loaded, SCRIPTS[model].load_data(SCRIPTS[model].get_args(flags)))
    assert untrained.encoder.filters == filters
    assert np.ptp(untrained.decode(z) - images) > 0
    other = read_run(run)
    other.flags["filters"] = [32, 64]
    assert titles([loaded, other], settings.FREE_FLAGS) == [
        f"{name}, filters {numbers}"
        for name in ["CVAE" if model == "cvae" else "MMD-VAE"]
        for numbers in (" ".join(flags[1:]), "32 64")
    ]


@pytest.mark.parametrize("model", ["mmd", pytest.param("cvae", marks=slow)])
def test_runs_of_earlier_versions_are_resumed_and_loaded(model, here, tmp_path, whole, monkeypatch):
    """Earlier versions had no flag --filters."""
    make_settings = settings.make_settings

    def earlier(*args):
        made = make_settings(*args)
        del made["flags"]["filters"]
        return made

    monkeypatch.setattr(settings, "make_settings", earlier)
    here(model, "--epochs", "1")
    monkeypatch.setattr(settings, "make_settings", make_settings)
    run = folder(tmp_path, model)
    assert "filters" not in read_json(run / "settings.json")["flags"]
    assert load_run(run).flags["filters"] == [32, 64]
    here(model, "--filters", "32", "63", status=2)
    here(model, "--filters", "32", "64")
    assert state(run)[:4] == state(folder(whole, model))[:4]  # without the figures of epoch 1


def test_two_replicas_train_other_filters_as_one_device(resized, tmp_path):
    found = []
    for n in "12":
        out = tmp_path / n
        flags = ("--filters", "4", "6", "5", "--dtype", "float64", "--epochs", "1")
        resized("cvae", *flags, "--output-dir", out, "--replicas", n)
        run = load_run(folder(out, "cvae"))
        weights = [w.numpy().ravel() for w in run.encoder.weights + run.decoder.weights]
        found.append((losses(run.folder), np.concatenate(weights)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-9)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=0, atol=1e-9)


@each
@pytest.mark.parametrize(("shape", "argv", "advises"), [
    ((32, 32, 1), "", False), ((32, 32, 3), "", True), ((28, 36, 1), "", True),
    ((64, 64, 3), "--filters 32 64", True), ((64, 64, 3), "--filters 32 64 96", False),
    ((64, 64, 3), "--latent-dim 3", False), ((64, 64, 3), "--image-size 64", True),
    ((36, 36, 3), "--image-size 36", False),
])  # fmt: skip
def test_larger_networks_are_suggested_for_photographs(script, shape, argv, advises, capsys):
    images = np.zeros((2, *shape), "u1")
    data = dataclasses.replace(few_digits(), train_images=images, test_images=images)
    messages.suggest_larger_network(script.get_args(argv.split()), data)
    assert ("--filters 32 64 128 --latent-dim 64" in capsys.readouterr().out) == advises
