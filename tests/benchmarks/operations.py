"""Print where the time of a training step goes, from TensorFlow's profile of its operations.

    python -m tests.benchmarks.operations cvae
    python -m tests.benchmarks.operations cvae 64x64x3

Each row has the milliseconds per batch, summed over threads, and for convolutions the rate. It
takes half a minute, on a CPU.
"""

import collections
import re
import sys
import tempfile
from pathlib import Path

from common.program.startup import run_script, start

if __name__ == "__main__":
    start(lambda: sys.argv[1:2] in (["cvae"], ["mmd"]) or sys.exit(__doc__))

from common.devices.determinism import set_up
from tests.benchmarks.benchmark import FILTERS, image_shape, macs
from tests.benchmarks.tensorflow_vae import make_shipped

import numpy as np
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf.xplane_pb2 import XSpace

STEPS = 20


def profile(model, shape):
    """Return the milliseconds per batch of each operation, by its name and its type."""
    images = np.random.default_rng(0).integers(0, 256, (6000, *shape), dtype=np.uint8)
    run = make_shipped(model, images, 100)
    run(STEPS)
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        run(STEPS)
        tf.profiler.experimental.stop()
        (file,) = Path(folder).rglob("*.xplane.pb")
        space = XSpace.FromString(file.read_bytes())
    found = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name
            if match := re.fullmatch(r"(?:.*StatefulPartitionedCall/)?(.*[^:]):(\w+)", name):
                found[re.sub(r"_\d+\b", "", match[1]), match[2]] += event.duration_ps / 1e9 / STEPS
    return found


def main():
    """Print the table."""
    model, *shape = sys.argv[1:]
    shape = image_shape(*shape or ["28x28x1"])
    with set_up(0, "float32"):
        found = profile(model, shape)
    layers, total = macs(shape, FILTERS), sum(found.values())
    print(f"{model}: {total:.1f} ms per batch of 100, summed over threads\n")
    print("|    ms |    % | GFLOP/s | operation |\n|---|---|---|---|")
    for (name, kind), ms in found.most_common(30):
        layer = next((layer for layer in layers if f"/{layer}/" in name and "Conv2D" in kind), None)
        rate = f"{2 * 100 * layers[layer] / ms:7.0f}" if layer else " " * 7
        print(f"| {ms:5.2f} | {ms / total:4.0%} | {rate} | {kind}, {name} |")


if __name__ == "__main__":
    run_script(main)
