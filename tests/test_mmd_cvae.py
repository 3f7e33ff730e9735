"""mmd_cvae.py: its loss."""

import mmd_cvae
from common.objectives.flags import mmd_kernel, mmd_weight

import numpy as np
import pytest
import tensorflow as tf


@pytest.mark.parametrize(("weight", "cross_entropy"), [(1.0, False), (784.0, False), (3.0, True)])
def test_loss_and_terms_against_numpy(weight, cross_entropy, build, images, float64):
    encoder, decoder, _ = build(mmd_cvae)
    n = 12
    x = images(n)
    rng = tf.random.Generator.from_seed(3)
    loss, terms = mmd_cvae.compute_loss(x, encoder, decoder, rng, weight, cross_entropy)

    mean = np.asarray(encoder(x))
    true_samples = np.asarray(tf.random.Generator.from_seed(3).normal((n, 2), dtype="float64"))

    def mean_kernel(a, b):
        distances = ((a[:, None] - b[None]) ** 2).sum(axis=2)
        return np.exp(-distances / 4).mean()  # 4 = latent_dim^2

    preds, x = np.asarray(decoder(mean)), x.numpy()
    if cross_entropy:
        loss_nll = -(x * np.log(preds) + (1 - x) * np.log(1 - preds)).mean()
    else:
        loss_nll = ((x - preds) ** 2).mean()
    loss_mmd = mean_kernel(true_samples, true_samples) + mean_kernel(mean, mean)
    loss_mmd -= 2 * mean_kernel(true_samples, mean)
    np.testing.assert_allclose(
        terms, [loss_nll, loss_mmd, loss_nll + weight * loss_mmd], rtol=1e-10
    )
    assert float(loss) == pytest.approx(loss_nll + weight * loss_mmd, rel=1e-10)


def test_decoder_gives_intensities(build):
    _, decoder, _ = build(mmd_cvae)
    preds = decoder(tf.random.normal((50, 2), stddev=100.0)).numpy()
    assert preds.min() >= 0
    assert preds.max() <= 1


def test_encoder_and_decoder_draw_nothing_at_random(build, images):
    encoder, decoder, _ = build(mmd_cvae)
    x = tf.cast(images(5), "float32")
    np.testing.assert_array_equal(decoder(encoder(x)), decoder(encoder(x)))


def test_without_flags_weight_and_loss_are_the_originals(build, images, float64):
    encoder, decoder, _ = build(mmd_cvae)
    args = mmd_cvae.get_args([])
    terms = []
    for objective in ((), (mmd_weight(args), args.cross_entropy, mmd_kernel(args))):
        rng = tf.random.Generator.from_seed(3)
        terms.append(mmd_cvae.compute_loss(images(12), encoder, decoder, rng, *objective)[1])
    np.testing.assert_array_equal(*terms)
    assert float(terms[0][2]) == float(terms[0][0] + terms[0][1])


def test_a_saturated_sigmoid_still_has_a_cross_entropy_and_gradients(build, images):
    encoder, decoder, rng = build(mmd_cvae)
    decoder.deconv3.bias.assign([200.0])
    x = tf.zeros((4, 28, 28, 1))
    with tf.GradientTape() as tape:
        _, terms = mmd_cvae.compute_loss(x, encoder, decoder, rng, 1.0, cross_entropy=True)
        loss = mmd_cvae.compute_loss(x, encoder, decoder, rng, 1.0, cross_entropy=True)[0]
    assert float(terms[0]) == pytest.approx(200, abs=1)
    assert float(tape.gradient(loss, decoder.deconv3.bias)[0]) == pytest.approx(1, abs=1e-3)
