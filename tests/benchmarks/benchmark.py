"""Measure how fast the two scripts train, compared with other frameworks, and their memory.

    pip install -r tests/benchmarks/requirements.txt
    python -m tests.benchmarks.benchmark --json benchmark.json
    python -m tests.benchmarks.benchmark --image-shape 64x64x3
    python -m tests.benchmarks.benchmark --sizes
    python -m tests.benchmarks.benchmark --whole

It takes 15 minutes on two CPU cores, and longer for larger images, for which it leaves out the time
of the start. README.md in this folder explains the measurements and lists results.
"""

import argparse
import contextlib
import datetime
import json
import math
import multiprocessing
import os
import platform
import random
import re
import statistics
import sys
import time
from pathlib import Path

from tests.benchmarks.commands import (
    measure_commands,
    measure_growth,
    measure_whole,
    print_commands,
    print_growth,
    print_whole,
)

from tqdm import tqdm

IMAGE_SHAPE, FILTERS, BATCH_SIZE = (28, 28, 1), (32, 64), 100
SIZES = (
    (8, 8, 1),
    (16, 16, 1),
    (28, 28, 1),
    (32, 32, 3),
    (64, 64, 3),
    (128, 128, 3),
    (256, 256, 3),
)
BATCH_SIZES = (10, 100, 1000)
MOST_PIXELS = 2**23  # Larger batches need more than 20 GB of memory with Keras's `fit`
PRODUCT = 2 * 2048**3 / 1e9  # GFLOP
TORCH = {  # arguments of torch_vae.make, by the name in the table
    f"PyTorch {mode}, channels {order}": (order == "last", mode == "compiled")
    for order in ("first", "last")
    for mode in ("eager", "compiled")
}
VAMP_PRIOR = 500
VAMP_PRIOR_NAME = f"with --vamp-prior {VAMP_PRIOR}"
FIT = "Keras model.fit"
OURS = ["as shipped", VAMP_PRIOR_NAME]
CONTESTANTS = [*OURS, "TensorFlow eager", FIT, *TORCH, "JAX jit", "JAX jit, in phases"]
# Factors for the number of steps per turn: `fit` has a start of its own, and JAX is slow
FACTORS = {FIT: 3, "JAX jit": 0.2, "JAX jit, in phases": 0.5}


def macs(image_shape, filters):
    """Return the millions of multiply-adds per image in the forward pass of each layer.

    The dense layer of the encoder has 4 outputs, as in eager_cvae.py.
    """
    height, width, channels = image_shape
    h, w, last, found = height, width, channels, {}
    for i, n in enumerate(filters, start=1):
        h, w = (h - 1) // 2, (w - 1) // 2
        found[f"conv{i}"] = h * w * 9 * last * n
        last = n
    found["dense1"] = h * w * last * 4
    pixels, last = height * width // 4 ** len(filters), filters[0]
    found["dense2"] = 2 * pixels * last
    for i, n in enumerate(filters[::-1], start=1):
        found[f"deconv{i}"] = pixels * 9 * last * n
        pixels, last = 4 * pixels, n
    found[f"deconv{i + 1}"] = pixels * 9 * last * channels
    return {name: each / 1e6 for name, each in found.items()}


def gflop(image_shape, filters):
    """Return the GFLOP per batch of 100: forward pass and gradients, except those of the images."""
    layers = macs(image_shape, filters)
    return 2 * 100 * (3 * sum(layers.values()) - layers["conv1"]) / 1000


def contestant(pipe, warm_up, *arguments):
    """Receive numbers of batches from a pipe, and send the seconds per batch. Runs in a process.

    Before that, train on `warm_up` batches. `arguments` are those of `make`.
    """
    with contextlib.ExitStack() as stack:
        try:
            run, product = make(*arguments, stack)
            done = run(warm_up)
            pipe.send("ready")
        except Exception as error:  # a missing package raises ImportError, a broken one anything
            pipe.send(f"{type(error).__name__}: {error}".splitlines()[0])
            return
        while steps := pipe.recv():
            took, now = seconds(run, steps)
            assert now - done == steps, f"trained {now - done} instead of {steps} steps"
            answer, done = [took / steps], now
            if product:
                answer.append(seconds(product, 8)[0] / 8)
            pipe.send(answer)


def make(name, model, image_shape, filters, batch_size, stack):
    """Return a contestant's training, and for the shipped step also the matrix products, or None.

    Both are functions of a number of repetitions. `stack` is a contextlib.ExitStack for contexts in
    which they must be called.
    """
    import numpy as np

    number = batch_size * steps_per_turn(image_shape, batch_size) * FACTORS[FIT]
    images = np.random.default_rng(0).integers(0, 256, (number, *image_shape), dtype=np.uint8)
    arguments, flags = (model, images, batch_size), ["--filters", *map(str, filters)]
    if "JAX" in name:
        from tests.benchmarks import jax_vae

        if filters != FILTERS:
            raise ValueError("this implementation has only the original's network")
        return jax_vae.make(*arguments, phases="phases" in name), None
    if "PyTorch" in name:
        from tests.benchmarks import torch_vae

        return torch_vae.make(*arguments, filters, *TORCH[name]), None
    from common.program.startup import start

    if name == VAMP_PRIOR_NAME and model != "cvae":
        raise ValueError("--vamp-prior is a flag of eager_cvae.py")
    if name not in OURS:
        os.environ["TF_NUM_INTRAOP_THREADS"] = "0"  # TensorFlow's default
    start(lambda: None)  # sets the environment as in the scripts
    from common.devices.determinism import set_up
    from tests.benchmarks import tensorflow_vae

    if name not in OURS:
        make_rival = tensorflow_vae.make_eager if "eager" in name else tensorflow_vae.make_fit
        return make_rival(*arguments, *flags), None
    stack.enter_context(set_up(0, "float32"))
    if name == "as shipped":
        return tensorflow_vae.make_shipped(*arguments, *flags), tensorflow_vae.make_product()
    return tensorflow_vae.make_shipped(*arguments, *flags, f"--vamp-prior={VAMP_PRIOR}"), None


def seconds(run, times):
    """Return how long `run(times)` takes, and its result."""
    start = time.perf_counter()
    result = run(times)
    return time.perf_counter() - start, result


def steps_per_turn(image_shape, batch_size):
    """Return a number of steps that takes about half a second, at most 200."""
    return min(200, max(2, 2_000_000 // (batch_size * math.prod(image_shape[:2]))))


def measure_steps(
    model, image_shape, filters, turns, batch_size=BATCH_SIZE, contestants=CONTESTANTS
):
    """Return a dict from each contestant to its seconds per batch in each turn.

    The key "product" has the seconds per matrix product. A contestant that cannot start is left out
    with a message.
    """
    context = multiprocessing.get_context("spawn")
    pipes, steps = {}, steps_per_turn(image_shape, batch_size)
    for name in tqdm(contestants, desc=f"{model}: compiling", leave=False):
        pipes[name], other = context.Pipe()
        args = other, steps, name, model, image_shape, filters, batch_size
        context.Process(target=contestant, args=args, daemon=True).start()
        other.close()
        if (answer := pipes[name].recv()) != "ready":
            tqdm.write(f"Without {name}: {answer}", file=sys.stderr)
            del pipes[name]
    found = {name: [] for name in [*pipes, "product"]}
    for _ in tqdm(range(turns), desc=f"{model}: taking turns", leave=False):
        for name, pipe in random.sample([*pipes.items()], len(pipes)):
            pipe.send(math.ceil(steps * FACTORS.get(name, 1)))
            answer = pipe.recv()
            found[name].append(answer[0])
            found["product"] += answer[1:]
    for pipe in pipes.values():
        pipe.send(0)
    for process in multiprocessing.active_children():
        process.join()  # or the end of this program would interrupt it, and it would say so
    return found


def quartiles(values):
    """Return the first quartile, the median and the third quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")


def print_steps(model, found, image_shape, filters):
    """Print the table of a model's contestants, and the rate of matrix products."""
    print(f"\n{model}: batches of 100\n")
    print("| | ms (quartiles) | images/s | relative to as shipped (quartiles) |\n|---|---|---|---|")
    ours = found["as shipped"]
    for name in [name for name in CONTESTANTS if name in found]:
        low, ms, high = quartiles([1000 * t for t in found[name]])
        ratios = quartiles([theirs / own for theirs, own in zip(found[name], ours, strict=True)])
        times = "" if name == "as shipped" else "{1:.2f} ({0:.2f} to {2:.2f})".format(*ratios)
        print(f"| {name} | {ms:.1f} ({low:.1f} to {high:.1f}) | {1e5 / ms:,.0f} | {times} |")
    rates, work = [PRODUCT / t for t in found["product"]], gflop(image_shape, filters)
    fractions = [work / t / rate for t, rate in zip(ours, rates, strict=True)]
    print("\nmatrix product: {1:.0f} GFLOP/s ({0:.0f} to {2:.0f})".format(*quartiles(rates)))
    print("fraction of this rate: {1:.0%} ({0:.0%} to {2:.0%})".format(*quartiles(fractions)))


def measure_sizes(turns):
    """Return the seconds per batch of eager_cvae.py and of `fit`, for several sizes of images."""
    cases = [(shape, n) for shape in SIZES for n in BATCH_SIZES]
    return [
        {
            "image_shape": shape,
            "batch_size": n,
            "seconds": measure_steps("cvae", shape, FILTERS, turns, n, ["as shipped", FIT]),
        }
        for shape, n in tqdm(cases, desc="sizes")
        if n * math.prod(shape[:2]) <= MOST_PIXELS
    ]


def print_sizes(found):
    """Print the milliseconds per batch for each size, and the median ratio of `fit`."""
    print("| images | batch size | `eager_cvae.py` | `fit` |\n|---|---|---|---|")
    for one in found:
        ours, rival = one["seconds"]["as shipped"], one["seconds"][FIT]
        ratio = statistics.median(theirs / own for theirs, own in zip(rival, ours, strict=True))
        size = "x".join(map(str, one["image_shape"]))
        ms = f"{1000 * statistics.median(ours):.3g} ms"
        print(f"| {size} | {one['batch_size']:,} | {ms} | {ratio:.2f} |")


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
    filters = {"nargs": "+", "metavar": "F", "default": FILTERS, "type": int}
    parser.add_argument("--filters", help="(default: 32 64)", **filters)
    help = "only compare the default eager_cvae.py with `fit`, for several sizes and batches"
    parser.add_argument("--sizes", help=help, action="store_true")
    help = "only train both scripts for 50 epochs on Fashion-MNIST"
    parser.add_argument("--whole", help=help, action="store_true")
    args = parser.parse_args()
    cpuinfo = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else []
    processor = (names or [platform.processor()])[0]
    record = {"processor": processor, "cores": os.cpu_count(), "python": platform.python_version(),
              "date": str(datetime.date.today())}  # fmt: skip
    print(f"{processor}, {os.cpu_count()} cores, {record['date']}")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.5:
        print(f"Other programs are running: the load is {os.getloadavg()[0]:.1f}.", file=sys.stderr)

    def keep(name, measured):
        record[name] = measured
        if args.json:
            args.json.write_text(json.dumps(record, indent=1) + "\n")
        return measured

    if args.whole:
        print_whole(keep("whole", measure_whole()))
        return
    if args.sizes:
        print_sizes(keep("sizes", measure_sizes(args.turns)))
        return
    record |= {"image_shape": args.image_shape, "filters": (filters := tuple(args.filters))}
    for model in ("cvae", "mmd"):
        found = measure_steps(model, args.image_shape, filters, args.turns)
        print_steps(model, keep(model, found), args.image_shape, filters)
    if hasattr(os, "wait4"):
        if args.image_shape == IMAGE_SHAPE:
            print_commands(keep("commands", measure_commands(turns=3)))
        print_growth(keep("growth", measure_growth(args.image_shape)), args.image_shape)
    else:
        print("Start-up and memory are not measured on Windows.", file=sys.stderr)


if __name__ == "__main__":
    main()
