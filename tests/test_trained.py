"""A finished run in use: common/trained.py."""

from common.data.sources import Dataset, load_dataset
from common.load import load_run
from common.program.errors import UserError

import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread
from support import SCRIPTS, few_digits

COLOUR = np.random.default_rng(0).integers(0, 256, (80, 12, 20, 3), dtype=np.uint8)
LABELS = np.arange(80) % 3
NOISE = tf.constant(COLOUR[:50]), LABELS[:50], COLOUR[50:], LABELS[50:], "abc"
CASES = {  # by the model: latent dimensions, dtype and data set
    "mmd": (1, "float64", few_digits()),
    "cvae": (3, "float32", Dataset("digits", "Noise", *NOISE)),
}


@pytest.fixture(scope="module", params=CASES)
def run(request, tmp_path_factory):
    """Return a finished run of one short epoch."""
    latent_dim, dtype, data = CASES[request.param]
    script, folder = SCRIPTS[request.param], tmp_path_factory.mktemp("out")
    flags = f"--latent-dim {latent_dim} --dtype {dtype} --epochs 1 --batch-size 50 --dataset digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.data.batches.EPOCH", 1)
        patch.setattr(script, "load_data", lambda _: data)
        return load_run(script.main([*flags.split(), "--output-dir", str(folder)]).folder)


def test_a_run_encodes_decodes_and_samples(run):
    latent_dim, dtype, data = CASES[run.model]
    assert (run.flags["latent_dim"], run.flags["dtype"], run.epochs) == (latent_dim, dtype, 1)
    x = data.test_images
    mean = run.encode(x)
    assert (mean.shape, mean.dtype) == ((len(x), latent_dim), dtype)
    expected = run.encoder(tf.constant(x / np.array(255, dtype)))
    expected = expected[0] if run.model == "cvae" else expected
    np.testing.assert_allclose(mean, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(run.encode(x / 255), mean, rtol=1e-4, atol=1e-5)
    assert run.encode(x[:0]).shape == (0, latent_dim)
    many = run.encode(np.concatenate([x] * 30))  # batches of 1000 and a shorter last one
    np.testing.assert_allclose(many, np.tile(mean, (30, 1)), rtol=1e-4, atol=1e-5)

    z, images = run.sample(1100, seed=4)
    np.testing.assert_allclose(np.cov(z.T), np.eye(latent_dim).squeeze(), atol=0.2)
    assert images.shape == (1100, *data.image_shape)
    assert 0 <= images.min() < images.max() <= 1
    logits = run.decoder(tf.constant(z[:9])).numpy()
    expected = 1 / (1 + np.exp(-logits)) if run.model == "cvae" else logits
    np.testing.assert_allclose(run.decode(z[:9].tolist()), expected, atol=1e-5)
    np.testing.assert_array_equal(run.sample(5, 4)[1], run.sample(5, 4)[1])
    assert not np.isclose(run.sample(5, 4)[0], run.sample(5)[0]).any()

    figures = list(run.folder.glob("*_epoch_1.png"))
    assert len(figures) == 4
    for file in figures:
        pixels = imread(file)[..., :3]
        grey = file.name.split("_")[1] != "latentspace" and data.image_shape[-1] == 1
        assert bool((pixels == pixels[..., :1]).all()) == grey


@pytest.mark.parametrize("run", ["mmd"], indirect=True)
def test_invalid_images_latent_vectors_and_data_are_refused(run, monkeypatch):
    assert "digits" in repr(run)
    with pytest.raises(UserError, match="have changed"):
        run.data()  # all the digits; the run was trained on a few
    fingerprint = load_dataset("digits").fingerprint
    monkeypatch.setitem(run.settings["dataset"], "fingerprint", fingerprint)
    assert len(run.data().train_images) == 1500
    x = np.zeros((4, 28, 28, 1))
    shapes = (x[0], x[..., 0], x[:, :27], np.zeros((4, 28, 28, 3)))
    for images in (*shapes, x - 0.1, x + 255, x + np.nan):
        with pytest.raises(ValueError, match="images"):
            run.encode(images)
    for z in (np.zeros(2), np.zeros((4, 2)), np.zeros((1, 4, 1))):
        with pytest.raises(ValueError, match="latent vectors"):
            run.decode(z)
    for n in (-1, 1.5):
        with pytest.raises(ValueError, match=str(n)):
            run.draw(n)
