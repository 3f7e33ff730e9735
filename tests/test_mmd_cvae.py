"""mmd_cvae.py: its loss."""

import mmd_cvae

import numpy as np
import pytest
import tensorflow as tf


def test_loss_and_terms_against_numpy(build, images, float64):
    encoder, decoder, _ = build(mmd_cvae)
    n = 12
    x = images(n)
    loss, terms = mmd_cvae.compute_loss(x, encoder, decoder, tf.random.Generator.from_seed(3))

    mean = np.asarray(encoder(x))
    true_samples = np.asarray(tf.random.Generator.from_seed(3).normal((n, 2), dtype="float64"))

    def mean_kernel(a, b):
        distances = ((a[:, None] - b[None]) ** 2).sum(axis=2)
        return np.exp(-distances / 4).mean()  # 4 = latent_dim^2

    loss_nll = ((x.numpy() - np.asarray(decoder(mean))) ** 2).mean()
    loss_mmd = mean_kernel(true_samples, true_samples) + mean_kernel(mean, mean)
    loss_mmd -= 2 * mean_kernel(true_samples, mean)
    assert terms.dtype == tf.float64
    np.testing.assert_allclose(terms, [loss_nll, loss_mmd, loss_nll + loss_mmd], rtol=1e-10)
    assert float(loss) == pytest.approx(loss_nll + loss_mmd, rel=1e-10)


def test_decoder_gives_intensities(build):
    _, decoder, _ = build(mmd_cvae)
    preds = decoder(tf.random.normal((50, 2), stddev=100.0)).numpy()
    assert preds.min() >= 0
    assert preds.max() <= 1


def test_encoder_and_decoder_draw_nothing_at_random(build, images):
    encoder, decoder, _ = build(mmd_cvae)
    x = tf.cast(images(5), "float32")
    np.testing.assert_array_equal(decoder(encoder(x)), decoder(encoder(x)))
