"""How fast the two scripts train, beside other ways to do the same; their start-up and memory.

    pip install -r tests/benchmarks/requirements.txt
    python -m tests.benchmarks.benchmark --json benchmark.json

Each contestant has a process of its own and they take turns; the ratios are medians of ratios
within a turn. Close what else runs: PyTorch suffers more from company than the scripts do, whose
threads seldom wait for each other. The floor is the time that the batch's 3.27 GFLOP would take at
the rate of float32 products of two 2048 x 2048 matrices, measured in the turns of the script's own
process, several side by side to keep all cores busy. TensorFlow eager and Keras model.fit have the
scripts' models and losses without common/fast.py; eager asks a persistent tape twice, as the R
scripts do. A call of fit costs 0.1 s or so before it begins, spread here over 60 batches. "In
phases", JAX's deconv1 and deconv2 are 2 x 2 convolutions, because the gradient of
lax.conv_transpose is a slow path of XLA on CPUs.

With TFDS_DATA_DIR, start-up and memory are those of Fashion-MNIST, too; for the growth with the
data the images are made up, and TFDS's reading is left out. Nine processes at a time, each with a
framework in memory; about 15 minutes on two cores.

What was tried on two cores of a Xeon (Cascade Lake, AVX-512), and what it gave. Of one script's
step, taking turns with its earlier form; milliseconds drift with the machine, ratios less.

Kept
- Batches gathered within the graph from the resident uint8 tensor, instead of a tf.data stream: 5 %
  less time. Ten batches a call (tf.foldl): nothing more on a CPU; on a GPU it spares the host.
- The batch in parts, one thread an operation, instead of two threads an operation: 15 % less.
  Four parts instead of two: 5 to 10 % less again. Ten parts: more time, for the small operations.
  (On two cores of an AMD EPYC two, four and six parts are equal, others 3 to 10 % slower.)
- deconv3's forward pass as a matrix product and nine shifts: 2.4 ms instead of 8.5 on the EPYC.
  Its gradients in that form took three times as long: kept plain.
- No autograph on the step: up to half a second of the start.
- The test set encoded 1,000 images at a time, the training images once in memory.
- TFDS without its cache: a fifth off the reading. Batches parsed and decoded by hand instead were
  twice as fast, but the reading is TFDS's.

Dropped
- XLA around the optimizer's update: no gain. Eigen's kernels instead of oneDNN's
  (TF_ENABLE_ONEDNN_OPTS=0): 30 % more time.
- deconv2 as a product (64 channels to 288 taps) and overlap-add, or as a 2 x 2 convolution to four
  phases of 32 channels: what the product gains, the passes over its 22 MB lose.
- deconv2's bias added to rows of 28 x 32 instead of 32: 1.5 % less, not worth a form of its own.
- malloc without mmap and trimming: no gain; page faults are no issue.

Where the time goes (python -m tests.benchmarks.operations; the EPYC, where one thread multiplies
matrices at 107 GFLOP/s; milliseconds a batch of eager_cvae, two threads added up, 46 in all):
deconv2's three passes 22.9 (at 88 to 111 GFLOP/s), deconv1's 6.4 (76 to 106), conv2's 5.6 (62 to
82), deconv3's 5.4, bias and relu of deconv1 and deconv2 and their gradients 2.5, conv1's 1.1, dense
layers 1.9. At the product's rate all would take 30.6. Two threads are busy for 95 % of the time, so
that what is left to gain is within oneDNN's convolutions.
"""

import argparse
import json
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
GFLOP = 3.27  # a batch of 100 images: 16.35 million multiply-adds an image, forward and backward
PRODUCT = 2 * 2048**3 / 1e9  # GFLOP
TORCH = [(last, compiled) for last in (False, True) for compiled in (False, True)]


def torch_name(channels_last, compiled):
    """What a PyTorch variant is called."""
    memory = "channels last" if channels_last else "channels first"
    return f"PyTorch {'compiled' if compiled else 'eager'}, {memory}"


CONTESTANTS = ["as shipped", "TensorFlow eager", "Keras model.fit"]
CONTESTANTS += [*(torch_name(*variant) for variant in TORCH), "JAX jit", "JAX jit, in phases"]
SHARE = {"Keras model.fit": 3, "JAX jit": 0.2, "JAX jit, in phases": 0.5}  # of the steps a turn


# Training steps ---------------------------------------------------------------


def contestant(pipe, name, model):
    """In a process of its own: answer a number of batches with the seconds they took."""
    try:
        run, product = make(name, model)
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


def make(name, model):
    """A contestant's training on a number of batches; for ours, also so many matrix products."""
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (6000, 28, 28, 1), dtype=np.uint8)
    product = None
    if name == "as shipped":
        from tests.benchmarks import tensorflow_vae

        run, product = tensorflow_vae.make_shipped(model, images), tensorflow_vae.make_product()
    elif name in ("TensorFlow eager", "Keras model.fit"):
        os.environ["TF_NUM_INTRAOP_THREADS"] = "0"  # TensorFlow's default
        from tests.benchmarks import tensorflow_vae as rivals

        run = (rivals.make_eager if "eager" in name else rivals.make_fit)(model, images)
    elif "JAX" in name:
        from tests.benchmarks import jax_vae

        run = jax_vae.make(model, images, phases="phases" in name)
    else:
        from tests.benchmarks import torch_vae

        run = torch_vae.make(model, images, *TORCH[CONTESTANTS.index(name) - 3])
    return run, product


def seconds(run, times):
    """How long `run(times)` takes."""
    start = time.perf_counter()
    run(times)
    return time.perf_counter() - start


def measure_steps(model, turns, steps):
    """A dict from contestant to its seconds a batch in each turn; "product" is the floor's.

    A contestant that cannot start is left out, and said why.
    """
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name in tqdm(CONTESTANTS, desc=f"{model}: compiling", leave=False):
        pipes[name], other = context.Pipe()
        context.Process(target=contestant, args=(other, name, model), daemon=True).start()
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


def floor(found):
    """Quartiles of the product's GFLOP/s and of the fraction of it that the step reaches."""
    rates = [PRODUCT / t for t in found["product"]]
    pairs = zip(found["as shipped"], rates, strict=True)
    return quartiles(rates), quartiles([GFLOP / t / rate for t, rate in pairs])


def quartiles(values):
    """First quartile, median, third quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")


# Whole commands ---------------------------------------------------------------

# Stops the clock after the first batch, or after an epoch. `images` replaces the data set.
LAUNCHER = """
import sys, time
script, images, first_batch, *sys.argv[1:] = sys.argv[1:]
import importlib
script = importlib.import_module(script)
if int(images):
    import numpy as np, tensorflow as tf
    from common.data import CLASS_NAMES, Dataset
    made = np.random.default_rng(0).integers(0, 256, (int(images), 28, 28, 1), dtype=np.uint8)
    few, labels = made[:100].copy(), np.zeros(100, int)
    data = Dataset("digits", tf.constant(made), labels, few, labels, CLASS_NAMES["digits"])
    del made
    script.load_dataset_or_digits = lambda *_: data
if int(first_batch):
    script.IMAGES_PER_CALL = 1
steps, figures, took = script.train_steps, script.draw_figures, {"figures": 0, "steps": 0}
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
script.train_steps, script.draw_figures = timed("steps", steps), timed("figures", figures)
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


def launch(script, *flags, images=0, first_batch=False):
    """A script under LAUNCHER: seconds, megabytes, seconds of figures and of training steps."""
    with tempfile.TemporaryDirectory() as folder:
        flags = (*flags, "--epochs", 1, "--output-dir", folder)
        took, memory, output = command("-c", LAUNCHER, script, images, int(first_batch), *flags)
    figures, steps = output.split("TOOK ")[1].split()
    return took, memory, float(figures), float(steps)


def measure_commands(turns):
    """Dicts of start-up, memory and figures, and of growth with the data."""
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
    growth = {}
    for images in tqdm([15_000 * k for k in (1, 2, 4, 8)], desc="growth", leave=False):
        _, memory, _, steps = launch("mmd_cvae", "--dataset", "digits", images=images)
        growth[images] = {"seconds": steps, "megabytes": memory}
    return {"import": bare, "start": start, "epoch": whole, "dataset": datasets[-1],
            "growth": growth}  # fmt: skip


# Tables -----------------------------------------------------------------------


def print_steps(model, found):
    """The table of a model's contestants and the floor."""
    print(f"\n{model}: a batch of 100\n")
    print("| | ms (quartiles) | images/s | times the time of ours (quartiles) |\n|---|---|---|---|")
    for name, ms, low, high, rate, r_low, ratio, r_high in compare_steps(found):
        times = "" if name == "as shipped" else f"{ratio:.2f} ({r_low:.2f} to {r_high:.2f})"
        print(f"| {name} | {ms:.1f} ({low:.1f} to {high:.1f}) | {rate:,.0f} | {times} |")
    rates, fractions = floor(found)
    print(f"\nmatrix product: {rates[1]:.0f} GFLOP/s ({rates[0]:.0f} to {rates[2]:.0f})")
    print(f"fraction of the floor: {fractions[1]:.0%} ({fractions[0]:.0%} to {fractions[2]:.0%})")


def print_commands(found):
    """Start-up, memory, figures, growth."""
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
    growth = list(found["growth"].items())
    (few, least), (many, most) = growth[0], growth[-1]
    slope = (most["megabytes"] - least["megabytes"]) * 2**20 / ((many - few) * 784)
    for images, one in growth:
        each = 1000 * one["seconds"] / images
        print(f"{images:7,} images: {one['megabytes']:.0f} MB, {each:.3f} ms an image")
    print(f"memory: {slope:.2f} bytes a pixel")


def main():
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for all the single readings")
    parser.add_argument("--turns", type=int, default=15, help="(default: %(default)s)")
    args = parser.parse_args()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    processor = (names or [platform.processor()])[0]
    record = {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version()}
    print(f"{processor}, {os.cpu_count()} cores")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5:
        print(f"Something else is running: the load is {os.getloadavg()[0]:.1f}.", file=sys.stderr)

    def keep(name, measured):
        record[name] = measured
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")
        return measured

    for model in ("cvae", "mmd"):
        print_steps(model, keep(model, measure_steps(model, args.turns, steps=20)))
    if hasattr(os, "wait4"):
        print_commands(keep("commands", measure_commands(turns=3)))
    else:
        print("Start-up and memory are not measured on Windows.", file=sys.stderr)


if __name__ == "__main__":
    main()
