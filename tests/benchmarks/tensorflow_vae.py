"""The scripts' training steps as shipped, and two other ways to write them in TensorFlow.

`make` functions take "cvae" or "mmd" and uint8 images (n, height, width, channels), and return a
function that trains on a number of batches of 100 and returns when that is done. All within
`common.devices.set_up`.
"""

from unittest import mock

import eager_cvae
import mmd_cvae
from common.data.batches import shuffled_batches, to_float
from common.devices.distribute import train_steps
from common.devices.parts import PARTS
from common.objectives.priors import begin_pseudo_inputs

import keras
import tensorflow as tf

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}
BATCH_SIZE = 100


def make_parts(model, images, vamp_prior=None):
    """The script, its models, optimizer, generator and further arguments, and the images.

    `vamp_prior` is the flag of eager_cvae.py.
    """
    script = SCRIPTS[model]
    encoder, decoder = script.Encoder(2), script.Decoder(2, images.shape[1:])
    encoder(tf.zeros((1, *images.shape[1:])))
    decoder(tf.zeros((1, 2)))
    prior = begin_pseudo_inputs(vamp_prior, images, seed=0)
    optimizer = script.make_optimizer(1e-4, encoder, decoder, *[prior] * bool(prior))
    rng = tf.random.Generator.from_seed(0)
    objective = (None, prior) if model == "cvae" else (1.0, False)
    return script, (encoder, decoder, optimizer, rng, *objective), tf.constant(images)


def make_plain_parts(model, images):
    """`make_parts` for the rivals, all of Keras's own layers."""
    own = keras.layers.Conv2DTranspose
    with mock.patch.object(SCRIPTS[model], "Conv2DTransposeToImage", own):
        return make_parts(model, images)


def make_shipped(model, images, vamp_prior=None):
    """The script's training, ten batches a call, as in its epoch loop."""
    script, state, images = make_parts(model, images, vamp_prior)
    batches = shuffled_batches(len(images), BATCH_SIZE, 0, 1)

    def run(steps):
        totals = tf.zeros(len(script.LOSSES), tf.float64)
        for first in tf.range(0, steps, 10):
            totals = train_steps(
                script.train_step, first, first + 10, totals, images, batches, *state
            )
        totals.numpy()

    return run


def make_product():
    """Float32 products of two 2048 x 2048 matrices, as many side by side as a batch has parts.

    Returns a function that does a number of products, a multiple of those parts.
    """
    a = tf.random.normal((2048, 2048))

    @tf.function
    def products(a):
        return [tf.matmul(a * (1 + part), a)[0, 0] for part in range(PARTS)]

    return lambda times: [products(a)[0].numpy() for _ in range(times // PARTS)]


def make_eager(model, images):
    """The original's style: nothing compiled, a tf.data stream, a persistent tape asked twice."""
    script, (encoder, decoder, optimizer, rng, *objective), images = make_plain_parts(model, images)
    stream = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).repeat()
    stream = iter(stream.batch(BATCH_SIZE).map(lambda x: to_float(x, "float32")))

    def run(steps):
        for _ in range(steps):
            with tf.GradientTape(persistent=True) as tape:
                loss, terms = script.compute_loss(next(stream), encoder, decoder, rng, *objective)
            for variables in (encoder.trainable_variables, decoder.trainable_variables):
                optimizer.apply(tape.gradient(loss, variables), variables)
        terms.numpy()

    return run


def make_fit(model, images):
    """`model.fit`, with Keras's defaults, of a keras.Model with the script's loss."""
    script, (encoder, decoder, _, rng, *objective), _ = make_plain_parts(model, images)
    images = to_float(images, "float32").numpy()

    class VAE(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = encoder, decoder

        def train_step(self, x):
            with tf.GradientTape() as tape:
                loss, _ = script.compute_loss(x, encoder, decoder, rng, *objective)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    vae = VAE()
    vae.compile(keras.optimizers.Adam(1e-4, epsilon=1e-8))
    return lambda steps: vae.fit(images[: steps * BATCH_SIZE], batch_size=BATCH_SIZE, verbose=0)
