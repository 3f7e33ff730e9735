"""How fast the two scripts train, beside other ways to do the same; their start-up and memory.

    pip install -r tests/benchmarks/requirements.txt
    python -m tests.benchmarks.benchmark --json benchmark.json
    python -m tests.benchmarks.benchmark --image-shape 64x64x3

About 15 minutes on two cores, longer for the larger images, of which the steps and the memory are
measured. README.md beside this file says what is measured and was found.
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
EPOCH = 60_000  # images that an epoch trains on, or all where there are more
PRODUCT = 2 * 2048**3 / 1e9  # GFLOP
TORCH = [(last, compiled) for last in (False, True) for compiled in (False, True)]


def torch_name(channels_last, compiled):
    """What a PyTorch variant is called."""
    memory = "channels last" if channels_last else "channels first"
    return f"PyTorch {'compiled' if compiled else 'eager'}, {memory}"


VAMP_PRIOR = 500
VAMP_PRIOR_NAME = f"with --vamp-prior {VAMP_PRIOR}"
CONTESTANTS = ["as shipped", VAMP_PRIOR_NAME, "TensorFlow eager", "Keras model.fit"]
CONTESTANTS += [*(torch_name(*variant) for variant in TORCH), "JAX jit", "JAX jit, in phases"]
SHARE = {"Keras model.fit": 3, "JAX jit": 0.2, "JAX jit, in phases": 0.5}  # of the steps a turn


def macs(image_shape):
    """Million multiply-adds an image in one pass of each layer, with the CVAE's 4 outputs."""
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
    """Of a batch of 100, forward and backward; nothing asks for a gradient to the images."""
    layers = macs(image_shape)
    return 2 * 100 * (3 * sum(layers.values()) - layers["conv1"]) / 1000


# Training steps ---------------------------------------------------------------


def contestant(pipe, name, model, image_shape):
    """In a process of its own: answer a number of batches with the seconds they took."""
    with contextlib.ExitStack() as stack:
        try:
            run, product = make(name, model, image_shape, stack)
            run(20)
            pipe.send("ready")
        except Exception as error:  # a package that is missing, or whatever it comes up with
            pipe.send(f"{type(error).__name__}: {error}".splitlines()[0])
            return
        while steps := pipe.recv():
            answer = [seconds(run, steps) / steps]
            if product:
                answer.append(seconds(product, 8) / 8)
            pipe.send(answer)


def make(name, model, image_shape, stack):
    """A contestant's training on a number of batches; for ours, also so many matrix products.

    What it needs while it trains is entered in `stack`, a contextlib.ExitStack.
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
        raise ValueError("it is a flag of eager_cvae.py")
    if name not in ("as shipped", VAMP_PRIOR_NAME):
        os.environ["TF_NUM_INTRAOP_THREADS"] = "0"  # TensorFlow's default
    start(lambda: None)  # the rest of the environment is that of the scripts
    from common.devices.determinism import set_up
    from tests.benchmarks import tensorflow_vae

    stack.enter_context(set_up(0, "float32"))
    if name == "as shipped":
        return tensorflow_vae.make_shipped(model, images), tensorflow_vae.make_product()
    if name == VAMP_PRIOR_NAME:
        return tensorflow_vae.make_shipped(model, images, VAMP_PRIOR), None
    make_rival = tensorflow_vae.make_eager if "eager" in name else tensorflow_vae.make_fit
    return make_rival(model, images), None


def seconds(run, times):
    """How long `run(times)` takes."""
    start = time.perf_counter()
    run(times)
    return time.perf_counter() - start


def measure_steps(model, image_shape, turns, steps):
    """A dict from contestant to its seconds a batch in each turn; "product" is the floor's.

    A contestant that cannot start is left out, and said why.
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
            pipe.send(round(steps * SHARE.get(name, 1)))
            answer = pipe.recv()
            found[name].append(answer[0])
            found["product"] += answer[1:]
    for pipe in pipes.values():
        pipe.send(0)
    return found


def compare_steps(found):
    """Rows of contestant, ms a batch (median, quartiles), images/s and how much slower it is."""
    ours = found["as shipped"]
    rows = []
    for name in [name for name in CONTESTANTS if name in found]:
        low, median, high = quartiles([1000 * t for t in found[name]])
        slower = quartiles([theirs / own for theirs, own in zip(found[name], ours, strict=True)])
        rows.append([name, median, low, high, 1e5 / median, *slower])
    return rows


def floor(found, image_shape):
    """Quartiles of the product's GFLOP/s and of the fraction of it that the step reaches."""
    rates = [PRODUCT / t for t in found["product"]]
    pairs = zip(found["as shipped"], rates, strict=True)
    work = gflop(image_shape)
    return quartiles(rates), quartiles([work / t / rate for t, rate in pairs])


def quartiles(values):
    """First quartile, median, third quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")


# Whole commands ---------------------------------------------------------------

# Stops the clock after the first batch, or after an epoch. `images` replaces the data set.
LAUNCHER = """
import sys, time
script, images, shape, first_batch, *sys.argv[1:] = sys.argv[1:]
from common.cli import start
start(lambda: None)
import importlib
script = importlib.import_module(script)
if int(images):
    import numpy as np
    from common.data.images import read_split
    from common.data.sources import Dataset, _to_tensor
    rng, shape, n = np.random.default_rng(0), tuple(map(int, shape.split("x"))), int(images)
    some = ((rng.integers(0, 256, (100, *shape), dtype=np.uint8), None) for _ in range(n // 100))
    ((made, _),) = read_split(some, n, shape)  # where images are read to, and used without a copy
    few, labels, names = made[:100].copy(), np.zeros(100, int), tuple("0123456789")
    data = Dataset("digits", "noise", _to_tensor(made), labels, few, labels, names)
    script.load_dataset_or_digits = lambda *_: data
if int(first_batch):
    script.Run.calls.__defaults__ = (1,)  # images a call
took = {"figures": 0, "steps": 0}
def timed(name, function):
    def call(*args):
        start = time.perf_counter()
        result = function(*args)
        getattr(result, "numpy", int)()
        took[name] += time.perf_counter() - start
        if int(first_batch) and name == "steps":
            raise SystemExit
        return result
    return call
script.train_steps = timed("steps", script.train_steps)
script.Run._export_figures = timed("figures", script.Run._export_figures)
try:
    script.main()
finally:
    print("TOOK", took["figures"], took["steps"])
"""


def command(*words):
    """Seconds and peak megabytes of a Python command, and what it printed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{words} ended with status {status}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return time.perf_counter() - start, usage.ru_maxrss * unit / 2**20, output


def launch(script, *flags, images=0, image_shape=IMAGE_SHAPE, first_batch=False):
    """A script under LAUNCHER: seconds, megabytes, seconds of figures and of training steps."""
    with tempfile.TemporaryDirectory() as folder:
        flags = (*flags, "--epochs", 1, "--output-dir", folder)
        shape = "x".join(map(str, image_shape))
        words = "-c", LAUNCHER, script, images, shape, int(first_batch), *flags
        took, memory, output = command(*words)
    figures, steps = output.split("TOOK ")[1].split()
    return took, memory, float(figures), float(steps)


def measure_commands(turns):
    """Dicts of start-up, memory and figures."""
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
    """By the number of images: a dict of an epoch's seconds and the peak megabytes."""
    growth = {}
    for images in tqdm([15_000 * k for k in (1, 2, 4, 8)], desc="growth", leave=False):
        kind = {"images": images, "image_shape": image_shape}
        _, memory, _, steps = launch("mmd_cvae", "--dataset", "digits", **kind)
        growth[images] = {"seconds": steps, "megabytes": memory}
    return growth


# Tables -----------------------------------------------------------------------


def print_steps(model, found, image_shape):
    """The table of a model's contestants and the floor."""
    print(f"\n{model}: a batch of 100\n")
    print("| | ms (quartiles) | images/s | times the time of ours (quartiles) |\n|---|---|---|---|")
    for name, ms, low, high, rate, r_low, ratio, r_high in compare_steps(found):
        times = "" if name == "as shipped" else f"{ratio:.2f} ({r_low:.2f} to {r_high:.2f})"
        print(f"| {name} | {ms:.1f} ({low:.1f} to {high:.1f}) | {rate:,.0f} | {times} |")
    rates, fractions = floor(found, image_shape)
    print(f"\nmatrix product: {rates[1]:.0f} GFLOP/s ({rates[0]:.0f} to {rates[2]:.0f})")
    print(f"fraction of the floor: {fractions[1]:.0%} ({fractions[0]:.0%} to {fractions[2]:.0%})")


def print_commands(found):
    """Start-up, memory, figures."""
    bare = statistics.median(found["import"])
    print(
        f"\nimport tensorflow: {bare:.1f} s\nto the first batch, figures before training included:"
    )
    for name, took in found["start"].items():
        median = statistics.median(took)
        print(f"  {name}: {median:.1f} s, {median / bare:.2f} times, {median - bare:+.1f} s")
    for script, one in found["epoch"].items():
        print(
            f"{script}, one epoch of {found['dataset']}: peak memory {one['megabytes']:.0f} MB, "
            f"figures of an epoch {one['figures']:.1f} s"
        )


def print_growth(found, image_shape):
    """Memory and time by the number of images."""
    growth = list(found.items())
    (few, least), (many, most) = growth[0], growth[-1]
    values = (many - few) * math.prod(image_shape)
    slope = (most["megabytes"] - least["megabytes"]) * 2**20 / values
    for images, one in growth:
        each = 1000 * one["seconds"] / max(images, EPOCH)
        print(f"{images:7,} images: {one['megabytes']:.0f} MB, {each:.3f} ms an image")
    print(f"memory: {slope:.2f} bytes a pixel and channel")


def image_shape(text):
    """An argparse type: height, width and channels."""
    height, width, channels = map(int, text.split("x"))
    return height, width, channels


def main():
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for all the single readings")
    parser.add_argument("--turns", type=int, default=15, help="(default: %(default)s)")
    shape = {"metavar": "HxWxC", "default": IMAGE_SHAPE, "type": image_shape}
    parser.add_argument("--image-shape", help="(default: 28x28x1)", **shape)
    args = parser.parse_args()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = (names or [platform.processor()])[0]
    record = {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version(),
              "image_shape": args.image_shape}  # fmt: skip
    print(f"{processor}, {os.cpu_count()} cores")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5:
        print(f"Something else is running: the load is {os.getloadavg()[0]:.1f}.", file=sys.stderr)

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
