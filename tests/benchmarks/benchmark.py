"""Measure how fast the two scripts train, compared with other frameworks, and their memory.

    pip install -r tests/benchmarks/requirements.txt
    python -m tests.benchmarks.benchmark --json benchmark.json
    python -m tests.benchmarks.benchmark --image-shape 64x64x3

It takes 15 minutes on two CPU cores, and longer for larger images, for which it leaves out the time
of the start. README.md in this folder explains the measurements and lists results.
"""

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parent.parent.parent
IMAGE_SHAPE = (28, 28, 1)
EPOCH = 60_000  # the smallest number of images in an epoch
PRODUCT = 2 * 2048**3 / 1e9  # GFLOP
TORCH = [(last, compiled) for last in (False, True) for compiled in (False, True)]


def torch_name(channels_last, compiled):
    """Return the name of a PyTorch variant in the table."""
    memory = "channels last" if channels_last else "channels first"
    return f"PyTorch {'compiled' if compiled else 'eager'}, {memory}"


VAMP_PRIOR = 500
VAMP_PRIOR_NAME = f"with --vamp-prior {VAMP_PRIOR}"
CONTESTANTS = ["as shipped", VAMP_PRIOR_NAME, "TensorFlow eager", "Keras model.fit"]
CONTESTANTS += [*(torch_name(*variant) for variant in TORCH), "JAX jit", "JAX jit, in phases"]
# Factors for the number of steps per turn: `fit` has a start of its own, and JAX is slow
FACTORS = {"Keras model.fit": 3, "JAX jit": 0.2, "JAX jit, in phases": 0.5}


def macs(image_shape):
    """Return the millions of multiply-adds per image in the forward pass of each layer.

    The dense layer of the encoder has 4 outputs, as in eager_cvae.py.
    """
    height, width, channels = image_shape
    (h1, w1), (h2, w2) = [((height - a) // b, (width - a) // b) for a, b in ((1, 2), (3, 4))]
    taps, quarter = 9 * 32 * 64, height * width // 16
    multiply_adds = {
        "conv1": h1 * w1 * 9 * channels * 32,
        "conv2": h2 * w2 * taps,
        "dense1": h2 * w2 * 64 * 4,
        "dense2": 2 * quarter * 32,
        "deconv1": quarter * taps,
        "deconv2": 4 * quarter * taps,
        "deconv3": 16 * quarter * 9 * 32 * channels,
    }
    return {name: each / 1e6 for name, each in multiply_adds.items()}


def gflop(image_shape):
    """Return the GFLOP per batch of 100: forward pass and gradients, except those of the images."""
    layers = macs(image_shape)
    return 2 * 100 * (3 * sum(layers.values()) - layers["conv1"]) / 1000


# Training steps ---------------------------------------------------------------


def contestant(pipe, name, model, image_shape):
    """Receive numbers of batches from a pipe, and send the seconds per batch. Runs in a process."""
    with contextlib.ExitStack() as stack:
        try:
            run, product = make(name, model, image_shape, stack)
            run(20)
            pipe.send("ready")
        except Exception as error:  # a missing package raises ImportError, a broken one anything
            pipe.send(f"{type(error).__name__}: {error}".splitlines()[0])
            return
        while steps := pipe.recv():
            answer = [seconds(run, steps) / steps]
            if product:
                answer.append(seconds(product, 8) / 8)
            pipe.send(answer)


def make(name, model, image_shape, stack):
    """Return a contestant's training, and for the shipped step also the matrix products, or None.

    Both are functions of a number of repetitions. `stack` is a contextlib.ExitStack for contexts in
    which they must be called.
    """
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (6000, *image_shape), dtype=np.uint8)
    if "JAX" in name:
        from tests.benchmarks import jax_vae

        return jax_vae.make(model, images, phases="phases" in name), None
    if "PyTorch" in name:
        from tests.benchmarks import torch_vae

        variant = next(variant for variant in TORCH if torch_name(*variant) == name)
        return torch_vae.make(model, images, *variant), None
    from common.program.startup import start

    if name == VAMP_PRIOR_NAME and model != "cvae":
        raise ValueError("--vamp-prior is a flag of eager_cvae.py")
    if name not in ("as shipped", VAMP_PRIOR_NAME):
        os.environ["TF_NUM_INTRAOP_THREADS"] = "0"  # TensorFlow's default
    start(lambda: None)  # sets the environment as in the scripts
    from common.devices.determinism import set_up
    from tests.benchmarks import tensorflow_vae

    stack.enter_context(set_up(0, "float32"))
    if name == "as shipped":
        return tensorflow_vae.make_shipped(model, images), tensorflow_vae.make_product()
    if name == VAMP_PRIOR_NAME:
        return tensorflow_vae.make_shipped(model, images, f"--vamp-prior={VAMP_PRIOR}"), None
    make_rival = tensorflow_vae.make_eager if "eager" in name else tensorflow_vae.make_fit
    return make_rival(model, images), None


def seconds(run, times):
    """Return how long `run(times)` takes."""
    start = time.perf_counter()
    run(times)
    return time.perf_counter() - start


def measure_steps(model, image_shape, turns, steps):
    """Return a dict from each contestant to its seconds per batch in each turn.

    The key "product" has the seconds per matrix product. A contestant that cannot start is left out
    with a message.
    """
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name in tqdm(CONTESTANTS, desc=f"{model}: compiling", leave=False):
        pipes[name], other = context.Pipe()
        args = other, name, model, image_shape
        context.Process(target=contestant, args=args, daemon=True).start()
        other.close()
        if (answer := pipes[name].recv()) != "ready":
            tqdm.write(f"Without {name}: {answer}", file=sys.stderr)
            del pipes[name]
    found = {name: [] for name in [*pipes, "product"]}
    for _ in tqdm(range(turns), desc=f"{model}: taking turns", leave=False):
        for name, pipe in pipes.items():
            pipe.send(round(steps * FACTORS.get(name, 1)))
            answer = pipe.recv()
            found[name].append(answer[0])
            found["product"] += answer[1:]
    for pipe in pipes.values():
        pipe.send(0)
    for process in multiprocessing.active_children():
        process.join()  # or the end of this program would interrupt it, and it would say so
    return found


def compare_steps(found):
    """Return the rows of the table.

    They have the contestant, ms per batch (median, quartiles), images per second, and quartiles of
    its time divided by that of the shipped step in the same turn.
    """
    ours = found["as shipped"]
    rows = []
    for name in [name for name in CONTESTANTS if name in found]:
        low, median, high = quartiles([1000 * t for t in found[name]])
        slower = quartiles([theirs / own for theirs, own in zip(found[name], ours, strict=True)])
        rows.append([name, median, low, high, 1e5 / median, *slower])
    return rows


def floor(found, image_shape):
    """Return the quartiles of the product's GFLOP/s, and of the step's fraction of this rate."""
    rates = [PRODUCT / t for t in found["product"]]
    pairs = zip(found["as shipped"], rates, strict=True)
    work = gflop(image_shape)
    return quartiles(rates), quartiles([work / t / rate for t, rate in pairs])


def quartiles(values):
    """Return the first quartile, the median and the third quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")


# Whole commands ---------------------------------------------------------------

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


def launch(script, *flags, images=0, image_shape=IMAGE_SHAPE, first_batch=False):
    """Run a script for an epoch or a batch.

    Returns:
        Its seconds, its peak megabytes, the seconds of the figures and of the training steps.
    """
    with tempfile.TemporaryDirectory() as folder:
        flags = (*flags, "--epochs", 1, "--output-dir", folder)
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


def measure_growth(image_shape):
    """Return the seconds of an epoch's steps and the peak megabytes, by the number of images."""
    growth = {}
    for images in tqdm([15_000 * k for k in (1, 2, 4, 8)], desc="growth", leave=False):
        kind = {"images": images, "image_shape": image_shape}
        _, memory, _, steps = launch("mmd_cvae", "--dataset", "digits", **kind)
        growth[images] = {"seconds": steps, "megabytes": memory}
    return growth


# Tables -----------------------------------------------------------------------


def print_steps(model, found, image_shape):
    """Print the table of a model's contestants, and the rate of matrix products."""
    print(f"\n{model}: batches of 100\n")
    print("| | ms (quartiles) | images/s | relative to as shipped (quartiles) |\n|---|---|---|---|")
    for name, ms, low, high, rate, r_low, ratio, r_high in compare_steps(found):
        times = "" if name == "as shipped" else f"{ratio:.2f} ({r_low:.2f} to {r_high:.2f})"
        print(f"| {name} | {ms:.1f} ({low:.1f} to {high:.1f}) | {rate:,.0f} | {times} |")
    rates, fractions = floor(found, image_shape)
    print(f"\nmatrix product: {rates[1]:.0f} GFLOP/s ({rates[0]:.0f} to {rates[2]:.0f})")
    print(f"fraction of this rate: {fractions[1]:.0%} ({fractions[0]:.0%} to {fractions[2]:.0%})")


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


def image_shape(text):
    """Return height, width and channels, from "HxWxC" (an argparse type)."""
    height, width, channels = map(int, text.split("x"))
    return height, width, channels


def main():
    """Measure everything, print tables and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for all measurements")
    parser.add_argument("--turns", type=int, default=15, help="(default: %(default)s)")
    shape = {"metavar": "HxWxC", "default": IMAGE_SHAPE, "type": image_shape}
    parser.add_argument("--image-shape", help="(default: 28x28x1)", **shape)
    args = parser.parse_args()
    from common.devices.determinism import processor_name

    processor = processor_name()
    record = {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version(),
              "image_shape": args.image_shape}  # fmt: skip
    print(f"{processor}, {os.cpu_count()} cores")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5:
        print(f"Other programs are running: the load is {os.getloadavg()[0]:.1f}.", file=sys.stderr)

    def keep(name, measured):
        record[name] = measured
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")
        return measured

    for model in ("cvae", "mmd"):
        found = measure_steps(model, args.image_shape, args.turns, steps=20)
        print_steps(model, keep(model, found), args.image_shape)
    if hasattr(os, "wait4"):
        if args.image_shape == IMAGE_SHAPE:
            print_commands(keep("commands", measure_commands(turns=3)))
        print_growth(keep("growth", measure_growth(args.image_shape)), args.image_shape)
    else:
        print("Start-up and memory are not measured on Windows.", file=sys.stderr)


if __name__ == "__main__":
    main()
