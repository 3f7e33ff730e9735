"""Fixtures and functions that several test files use."""

import csv
import dataclasses
import json
import os
import shutil
import signal
import tempfile
import zipfile
from pathlib import Path

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # as the programs do on few cores
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")  # there is one test process per core

import common.data.batches
import eager_cvae
import mmd_cvae
from common.data.sources import load_dataset
from common.devices.determinism import set_up
from common.plotting import show_pseudo_inputs
from common.program.files import write_json
from common.program.startup import run_script
from common.training.folder import FIGURES

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.figure import Figure

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` makes processes ignore it
TWO = [tf.config.LogicalDeviceConfiguration()] * 2  # devices for --replicas
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], TWO)
ROOT = Path(__file__).parent.parent
SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
LOSSES = {  # the original's loss terms
    "cvae": ("logpx_z_total", "logpz_total", "logqz_x_total", "total"),
    "mmd": ("loss_nll_total", "loss_mmd_total", "total"),
}
both = pytest.mark.parametrize("model", SCRIPTS)
each = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}  # and the exit statuses that they cause


@pytest.fixture(autouse=True)
def float32():
    """Start each test with the default precision of the scripts."""
    with set_up(0, "float32"):
        yield


@pytest.fixture
def float64(float32):
    """Set Keras to float64, so that results can be compared to 10 digits."""
    with set_up(0, "float64"):
        yield


@pytest.fixture(autouse=True)
def signals():
    """Restore the signal handlers after each test."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def build():
    """Return a function that returns a script's encoder, decoder and random generator."""

    def build(script, latent_dim=2, seed=0, image_shape=(28, 28, 1)):
        keras.utils.set_random_seed(seed)
        encoder, decoder = script.Encoder(latent_dim), script.Decoder(latent_dim, image_shape)
        encoder(tf.zeros((1, *image_shape), keras.config.floatx()))
        decoder(tf.zeros((1, latent_dim), keras.config.floatx()))
        return encoder, decoder, tf.random.Generator.from_seed(seed)

    return build


@pytest.fixture
def digits():
    return load_dataset("digits").train_images.numpy()  # uint8 (1500, 28, 28, 1)


@pytest.fixture
def images(digits):
    """Return a function that returns n images of digits, in float64 and in [0, 1]."""
    return lambda n: tf.cast(digits[:n], tf.float64) / 255


@pytest.fixture
def short_epochs(monkeypatch):
    """Shorten an epoch to one pass over the training set in this process."""
    monkeypatch.setattr(common.data.batches, "EPOCH", 1)


def few_digits(*_, train=60, test=40):
    """Return a Dataset with the first digits, for short epochs."""
    data, sizes = load_dataset("digits"), {"train": train, "test": test}
    parts = [(f"{part}_{what}", n) for part, n in sizes.items() for what in ("images", "labels")]
    return dataclasses.replace(data, **{name: getattr(data, name)[:n] for name, n in parts})


def small_figures(decode, mean, random_vector, data, title, centres=None, pseudo_inputs=None):
    """Return figures that are drawn quickly and depend on the models as the real figures do."""
    images, figures = decode(random_vector), {}
    for kind in FIGURES:
        shown = np.asarray(mean if kind == "latentspace" else images)
        figures[kind] = Figure(figsize=(4, 1))
        figures[kind].figimage(shown.reshape(len(shown), -1))
        figures[kind].text(0, 0.9, title)
    if pseudo_inputs is not None:
        figures["pseudo_inputs"] = show_pseudo_inputs(pseudo_inputs, title)
    return figures


def call(main, *argv):
    """Run a main function, or a script given as "cvae" or "mmd". Return its exit status."""
    main = SCRIPTS[main].main if main in SCRIPTS else main
    try:
        run_script(lambda: main([str(word) for word in argv]))
    except SystemExit as stop:
        return stop.code
    return 0


def configuration():
    """Return the settings of Keras and TensorFlow that `set_up` changes and restores."""
    config, options = keras.config, tf.config.optimizer.get_experimental_options()
    return config.floatx(), config.dtype_policy().name, config.image_data_format(), options


def environment(**more):
    """Return the environment for a new process, without what importing `common` has set."""
    ours = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "TF_NUM_INTRAOP_THREADS")
    ours += ("TF_NUM_INTEROP_THREADS",)
    return {k: v for k, v in os.environ.items() if k not in ours} | more


def snapshot(folder):
    """Return the content of every file in a folder and its subfolders."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def losses(run):
    """Return the rows of a run's losses.csv as floats, without the column of times."""
    with (run / "losses.csv").open() as stream:
        return [[float(v) for k, v in r.items() if k != "seconds"] for r in csv.DictReader(stream)]


def cut(path):
    """Truncate a file to half of its size."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_json(path, edit):
    """Apply `edit` to the dict in a file of `write_json`, and give the file a valid digest."""
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["digest"]
    edit(content)
    write_json(path, content)


def edit_config(path, edit):
    """Apply `edit` to the dict in the config.json of a .keras file."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    config = json.loads(parts["config.json"])
    edit(config)
    with zipfile.ZipFile(path, "w") as file:
        for name, part in (parts | {"config.json": json.dumps(config)}).items():
            file.writestr(name, part)


def _zero(name, item):
    if isinstance(item, h5py.Dataset):
        item[...] = np.zeros(item.shape)


def set_weights_to_zero(path):
    """Set all weights in a .keras file to zero."""
    with tempfile.TemporaryDirectory() as place:
        shutil.unpack_archive(path, place, "zip")
        with h5py.File(Path(place, "model.weights.h5"), "r+") as weights:
            weights.visititems(_zero)
        zipped = shutil.make_archive(Path(place).with_suffix(".new"), "zip", place)
    os.replace(zipped, path)
