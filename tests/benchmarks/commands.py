"""Measure whole runs of the two scripts: time of the start, time of figures, and memory."""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parent.parent.parent
EPOCH = 60_000  # the smallest number of images in an epoch

# Runs a script, which it ends after the first batch on request, and prints the seconds that its
# figures and its steps took. A positive number of `images` replaces the data set by noise
LAUNCHER = """
import sys, time
script, images, shape, first_batch, *sys.argv[1:] = sys.argv[1:]
from common.program.startup import start
start(lambda: None)
import importlib
script = importlib.import_module(script)
if int(images):
    import numpy as np
    from common.data.images import read_split
    from common.data.sources import Dataset, _to_tensor
    rng, shape, n = np.random.default_rng(0), tuple(map(int, shape.split("x"))), int(images)
    some = ((rng.integers(0, 256, (100, *shape), dtype=np.uint8), None) for _ in range(n // 100))
    ((made, _),) = read_split(some, n, shape)  # as images are read
    few, labels, names = made[:100].copy(), np.zeros(100, int), tuple("0123456789")
    data = Dataset("digits", "noise", _to_tensor(made), labels, few, labels, names)
    script.load_data = lambda _: data
took = {"figures": 0, "steps": 0}
def timed(name, function):
    def call(*args, **kwargs):
        start = time.perf_counter()
        result = function(*args, **kwargs)
        took[name] += time.perf_counter() - start
        if int(first_batch) and name == "steps":
            raise SystemExit
        return result
    return call
script.train_step = timed("steps", script.train_step)
from common.training.exports import Exports
Exports._write_figures = timed("figures", Exports._write_figures)
try:
    script.main()
finally:
    print("TOOK", took["figures"], took["steps"])
"""


def command(*words):
    """Run a Python command. Return its seconds, its peak megabytes and its output."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{words} ended with status {status}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes in the unit of ru_maxrss
    return time.perf_counter() - start, usage.ru_maxrss * unit / 2**20, output


def launch(script, *flags, images=0, image_shape=(28, 28, 1), first_batch=False, epochs=1):
    """Run a script for some epochs, or only for a batch.

    Returns:
        Its seconds, its peak megabytes, the seconds of the figures and of the training steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        flags = (*flags, "--epochs", epochs, "--output-dir", folder)
        shape = "x".join(map(str, image_shape))
        words = "-c", LAUNCHER, script, images, shape, int(first_batch), *flags
        took, memory, output = command(*words)
    figures, steps = output.split("TOOK ")[1].split()
    return took, memory, float(figures), float(steps)


def measure_commands(turns):
    """Return a dict with the times of start-up and of figures, and with the memory."""
    data_dir = os.environ.get("TFDS_DATA_DIR")
    datasets = ["digits"] + ["fashion_mnist"] * bool(data_dir)
    start, bare = {}, []
    for _ in tqdm(range(turns), desc="start-up", leave=False):
        bare.append(command("-c", "import tensorflow")[0])
        for script in ("eager_cvae", "mmd_cvae"):
            for name in datasets:
                took = launch(script, "--dataset", name, first_batch=True)[0]
                start.setdefault(f"{script}, {name}", []).append(took)
    whole = {}
    for script in tqdm(("eager_cvae", "mmd_cvae"), desc="an epoch", leave=False):
        took, memory, figures, _ = launch(script, "--dataset", datasets[-1])
        whole[script] = {"seconds": took, "megabytes": memory, "figures": figures / 2}
    return {"import": bare, "start": start, "epoch": whole, "dataset": datasets[-1]}


def measure_whole():
    """Return the seconds and peak megabytes of 50 epochs on Fashion-MNIST."""
    runs = {}
    for script in tqdm(("eager_cvae", "mmd_cvae"), desc="50 epochs", leave=False):
        took, memory, *_ = launch(script, "--dataset", "fashion_mnist", epochs=50)
        runs[script] = {"seconds": took, "megabytes": memory}
    return runs


def measure_growth(image_shape):
    """Return the seconds of an epoch's steps and the peak megabytes, by the number of images."""
    growth = {}
    for images in tqdm([15_000 * k for k in (1, 2, 4, 8)], desc="growth", leave=False):
        kind = {"images": images, "image_shape": image_shape}
        _, memory, _, steps = launch("mmd_cvae", "--dataset", "digits", **kind)
        growth[images] = {"seconds": steps, "megabytes": memory}
    return growth


def print_commands(found):
    """Print the time of start-up, the memory, and the time of figures."""
    bare = statistics.median(found["import"])
    print(f"\nimport tensorflow: {bare:.1f} s")
    print("to the end of the first batch, with the figures before training:")
    for name, took in found["start"].items():
        median = statistics.median(took)
        print(f"  {name}: {median:.1f} s, {median / bare:.2f} x, {median - bare:+.1f} s")
    for script, one in found["epoch"].items():
        print(
            f"{script}, one epoch of {found['dataset']}: peak memory {one['megabytes']:.0f} MB, "
            f"{one['figures']:.1f} s for the figures of an epoch"
        )


def print_whole(found):
    """Print the time and the memory of whole runs."""
    for script, one in found.items():
        minutes = one["seconds"] / 60
        print(f"{script}, 50 epochs: {minutes:.1f} minutes, peak memory {one['megabytes']:.0f} MB")


def print_growth(found, image_shape):
    """Print memory and time by the number of images."""
    growth = list(found.items())
    (few, least), (many, most) = growth[0], growth[-1]
    values = (many - few) * math.prod(image_shape)
    slope = (most["megabytes"] - least["megabytes"]) * 2**20 / values
    for images, one in growth:
        each = 1000 * one["seconds"] / max(images, EPOCH)
        print(f"{images:7,} images: {one['megabytes']:.0f} MB, {each:.3f} ms per image")
    print(f"memory: {slope:.2f} bytes per pixel and channel")
