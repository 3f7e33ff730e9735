"""The scripts' training steps as shipped, and two other ways to write them in TensorFlow.

The `make` functions return a function that trains on a given number of batches. It returns how many
batches the optimizer has processed since the start. The arguments of the `make` functions are
"cvae" or "mmd", uint8 images (n, height, width, channels), the number of images per batch, and
flags of the script. The images must suffice for one call. Call the functions inside
`common.devices.determinism.set_up`.
"""

from unittest import mock

import eager_cvae
import mmd_cvae
from common.data.batches import reader, shuffled_batches, to_float
from common.devices.distribute import read_shares
from common.objectives.losses import elbo_loss, mmd_loss
from common.objectives.priors import make_prior

import keras
import tensorflow as tf

SCRIPTS = {"cvae": eager_cvae, "mmd": mmd_cvae}


def make_parts(model, images, *flags):
    """Return the script, the loss function for its flags, and the state for its `train_step`."""
    script = SCRIPTS[model]
    args = script.get_args(flags)
    encoder = script.Encoder(2, args.filters)
    decoder = script.Decoder(2, images.shape[1:], args.filters)
    encoder(tf.zeros((1, *images.shape[1:])))
    decoder(tf.zeros((1, 2)))
    state = {"encoder": encoder, "decoder": decoder, "rng": tf.random.Generator.from_seed(0)}
    variables = encoder.trainable_variables + decoder.trainable_variables
    if model == "cvae":
        prior = state["prior"] = make_prior(args.vamp_prior, tf.constant(images), seed=0)
        variables += prior.trainable_variables
        loss_function = elbo_loss(args, script.compute_loss, script.reparameterize, prior)
    else:
        loss_function = mmd_loss(args, script.compute_loss)
    state["optimizer"] = keras.optimizers.Adam(1e-4, epsilon=1e-8)
    state["optimizer"].build(variables)
    return script, loss_function, state


def make_shipped(model, images, batch_size, *flags):
    """Return a function that trains as the script does."""
    script, loss_function, state = make_parts(model, images, *flags)
    read = reader(tf.constant(images), "float32")
    batches = shuffled_batches(len(images), batch_size, seed=0, epoch=1).numpy()

    def run(steps):
        for x in read_shares(read, batches[:steps], per_call=10):
            losses = script.train_step(x, loss_function, **state)
            [float(term) for term in losses.values()]  # as Run.add does
        return int(state["optimizer"].iterations)

    return run


def make_product():
    """Return a function that computes float32 products of two 2048 x 2048 matrices.

    Its argument is the number of products, a multiple of 4. Four products run side by side.
    """
    a = tf.random.normal((2048, 2048))

    @tf.function
    def products(a):
        return [tf.matmul(a * (1 + part), a)[0, 0] for part in range(4)]

    return lambda times: [products(a)[0].numpy() for _ in range(times // 4)]


def make_plain_parts(model, images, *flags):
    """Return the script's `compute_loss` and the state of `make_parts`, with Keras's own layers."""
    keras_layer = keras.layers.Conv2DTranspose
    with mock.patch.object(SCRIPTS[model], "Conv2DTransposeToImage", keras_layer):
        script, _, state = make_parts(model, images, *flags)
    return script.compute_loss, state


def make_eager(model, images, batch_size, *flags):
    """Return a function that trains as the original does.

    Nothing is compiled, a tf.data pipeline shuffles, and a persistent tape gives two gradients.
    """
    compute_loss, state = make_plain_parts(model, images, *flags)
    encoder, decoder = state["encoder"], state["decoder"]
    stream = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).repeat()
    stream = iter(stream.batch(batch_size).map(lambda x: to_float(x, "float32")))

    def run(steps):
        for _ in range(steps):
            with tf.GradientTape(persistent=True) as tape:
                loss, _ = compute_loss(next(stream), encoder, decoder, state["rng"])
            for variables in (encoder.trainable_variables, decoder.trainable_variables):
                state["optimizer"].apply(tape.gradient(loss, variables), variables)
        loss.numpy()
        return int(state["optimizer"].iterations) // 2  # two gradients per batch

    return run


def make_fit(model, images, batch_size, *flags):
    """Return a function that trains with Keras's `fit` and its default settings."""
    compute_loss, state = make_plain_parts(model, images, *flags)
    images = to_float(images, "float32").numpy()

    class VAE(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = state["encoder"], state["decoder"]

        def train_step(self, x):
            with tf.GradientTape() as tape:
                loss, _ = compute_loss(x, self.encoder, self.decoder, state["rng"])
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply(gradients, self.trainable_variables)
            return {"loss": loss}

    vae = VAE()
    vae.compile(keras.optimizers.Adam(1e-4, epsilon=1e-8))

    def run(steps):
        vae.fit(images[: steps * batch_size], batch_size=batch_size, verbose=0)
        return int(vae.optimizer.iterations)

    return run
