"""Fixtures, and what several test files use."""

import contextlib
import csv
import dataclasses
import json
import multiprocessing.connection
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # as the programs do, on few cores
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")  # as many processes test as there are cores

import common.data.batches
import common.training.exports
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

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
TWO = [tf.config.LogicalDeviceConfiguration()] * 2  # processors, for --replicas
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], TWO)
ROOT = Path(__file__).parent.parent
SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
both = pytest.mark.parametrize("model", SCRIPTS)
each = pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}  # with the status that they end with


@pytest.fixture(autouse=True)
def float32():
    """Each test begins at the scripts' default precision, whatever ran before it."""
    with set_up(0, "float32"):
        yield


@pytest.fixture
def float64(float32):
    """Keras at float64, for arithmetic that is compared to the last digits."""
    with set_up(0, "float64"):
        yield


@pytest.fixture(autouse=True)
def signals():
    """The signal handlers are after each test what they were before."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def build():
    """A function from a script's module to its encoder, decoder and random generator, seeded."""

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
    """A function from n to n images, the bundled digits, float64 in [0, 1]."""
    return lambda n: tf.cast(digits[:n], tf.float64) / 255


@pytest.fixture
def short_epochs(monkeypatch):
    """An epoch is one pass over the training set, in this process."""
    monkeypatch.setattr(common.data.batches, "EPOCH", 1)


def few_digits(*_, train=60, test=40):
    """The first of the digits' training and test images: short epochs, for many runs."""
    data, sizes = load_dataset("digits"), {"train": train, "test": test}
    parts = [(f"{part}_{what}", n) for part, n in sizes.items() for what in ("images", "labels")]
    return dataclasses.replace(data, **{name: getattr(data, name)[:n] for name, n in parts})


def small_figures(decode, mean, random_vector, data, title, centres=None, pseudo_inputs=None):
    """Figures that are soon drawn, and show the state as well as plotting.draw_figures's."""
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
    """Run `main`, or that of a model's script, in this process; return its exit status."""
    main = SCRIPTS[main].main if main in SCRIPTS else main
    try:
        run_script(lambda: main([str(word) for word in argv]))
    except SystemExit as stop:
        return stop.code
    return 0


def configuration():
    """Of Keras and TensorFlow: what `set_up` sets, and takes back."""
    config, options = keras.config, tf.config.optimizer.get_experimental_options()
    return config.floatx(), config.dtype_policy().name, config.image_data_format(), options


def environment(**more):
    """The environment for a new process, without what importing `common` has set here."""
    ours = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_BACKEND", "TF_NUM_INTRAOP_THREADS")
    ours += ("TF_NUM_INTEROP_THREADS",)
    return {k: v for k, v in os.environ.items() if k not in ours} | more


def snapshot(folder):
    """Every file below a folder with its content."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def losses(run):
    """The rows of a run's losses.csv without the time column, as floats."""
    with (run / "losses.csv").open() as stream:
        return [[float(v) for k, v in r.items() if k != "seconds"] for r in csv.DictReader(stream)]


def cut(path):
    """Leave half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_json(path, edit):
    """Have `edit` change what `write_json` wrote, or return another; its digest is right again."""
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["digest"]
    write_json(path, edit(content) or content)


def edit_config(path, edit):
    """Have `edit` change a Keras file's config.json."""
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
    """Put zeros in place of all weights in a Keras file."""
    with tempfile.TemporaryDirectory() as place:
        shutil.unpack_archive(path, place, "zip")
        with h5py.File(Path(place, "model.weights.h5"), "r+") as weights:
            weights.visititems(_zero)
        zipped = shutil.make_archive(Path(place).with_suffix(".new"), "zip", place)
    os.replace(zipped, path)


def put(path, make):
    """Have `make` create something else in a file's place."""
    path.unlink()
    make(path)


class Script:
    """A script on 60 digits, in a forked process that writes to a pipe or a terminal."""

    def __init__(self, model, out, *flags, prepare=(), terminal=False):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.support"])  # from the root folder
        flags = [str(word) for word in ("--output-dir", out, *flags)]
        ours, theirs = os.openpty() if terminal else os.pipe()
        if terminal:
            import termios  # which not every system has

            termios.tcsetwinsize(theirs, (24, 100))
        theirs = multiprocessing.connection.Connection(theirs)
        self.chunks, self.started = [], context.Event()
        args = (model, flags, theirs, self.started, prepare)
        self.process = context.Process(target=_script, args=args, daemon=True)
        self.process.start()
        theirs.close()
        self._reader = threading.Thread(target=self._read, args=(ours,), daemon=True)
        self._reader.start()

    def _read(self, ours):
        with contextlib.suppress(OSError):  # how Linux says that a terminal is closed
            while chunk := os.read(ours, 10_000):
                self.chunks.append(chunk)
        os.close(ours)

    @property
    def output(self):
        """What it has printed so far."""
        return b"".join(self.chunks).decode().replace("\r\n", "\n")

    def wait_for(self, text):
        """Until the output holds `text`, or the process has ended."""
        deadline = time.monotonic() + 120
        while text not in self.output and self.process.is_alive():
            assert time.monotonic() < deadline, self.output
            time.sleep(0.01)

    def send(self, number):
        """Send a signal."""
        with contextlib.suppress(ProcessLookupError):  # it was faster
            os.kill(self.process.pid, number)

    def end(self, number=None):
        """Send a signal, if given; return exit status and output once the process has ended."""
        if number:
            self.send(number)
        self.process.join(120)
        self._reader.join(10)
        return self.process.exitcode, self.output

    def expect(self, status):
        """Return the output once the process has ended, with this exit status."""
        found, output = self.end()
        assert found == status, output
        return output


def _script(model, flags, theirs, started, prepare):
    os.dup2(theirs.fileno(), 1)
    os.dup2(theirs.fileno(), 2)
    theirs.close()
    sys.orig_argv = [sys.executable, SCRIPTS[model].__file__, *flags]
    sys.argv = sys.orig_argv[1:]
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)  # once it is done, nothing is left to stop
    common.data.batches.EPOCH = 1
    common.training.exports.draw_figures = small_figures
    SCRIPTS[model].load_data = few_digits
    if prepare:
        function, *args = prepare
        function(*args)
    run_script(lambda: started.set() or SCRIPTS[model].main(flags))
