"""Runs of both scripts from their main function: what they train, print and return."""

import concurrent.futures
import json
import os
import re
import signal
from unittest.mock import Mock

import common.compare.__main__ as compare
import common.data.batches
from common.compare import metrics
from common.data.batches import shuffled_batches
from common.data.sources import load_dataset
from common.load import load_run
from common.losses import normal_loglik
from common.objectives.priors import StandardNormal
from common.plotting import draw_figures

import keras
import matplotlib
import numpy as np
import pytest
import tensorflow as tf
from small_runs import FLAGS, Script, folder, shorten, state
from support import LOSSES, SCRIPTS, SIGNALS, both, call, configuration, few_digits, losses

LINE, N = r"Losses \(epoch\): (\d+):", r"-?\d+\.\d+"
LINES = {model: rf"{LINE}  {N} " + rf",  {N} ".join(LOSSES[model]) for model in SCRIPTS}
TITLES = {"cvae": "CVAE (ELBO)", "mmd": "MMD-VAE"}
DATA = few_digits()


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    shorten(monkeypatch)


@both
def test_a_run_prints_the_originals_lines_and_its_losses_fall(model, trained):
    run = folder(trained[0], model)
    first, second, *lines = trained[1][model]
    for part in (TITLES[model], "digits (scikit-learn)", "PU", "seed 0", "0.001"):
        assert part in first
    for part in ("6 batches of 20", "2 passes over 60 images", "epoch 3", str(run)):
        assert part in second
    lines = [line for line in lines if "latent dimensions" not in line]
    assert [re.fullmatch(LINES[model], line)[1] for line in lines] == ["1", "2", "3"]
    rows, places = losses(run), 2 if model == "cvae" else 4
    assert rows[0][-1] > rows[1][-1] > rows[2][-1]
    for line, (epoch, *terms, total) in zip(lines, rows, strict=True):
        expected = -(terms[0] + terms[1] - terms[2]) if model == "cvae" else sum(terms)
        assert total == pytest.approx(expected, rel=1e-6)  # not rounded
        printed = [f"{value:.{places}f}" for value in (*terms, total)]
        assert re.findall(r"-?\d+\.?\d*", line) == [f"{epoch:.0f}", *printed]
    header = (run / "losses.csv").read_text().splitlines()[0]
    assert header == ",".join(("epoch", *LOSSES[model], "seconds"))


@both
def test_figures_show_the_model_with_the_same_draws_at_each_epoch(model, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "common.training.exports.draw_figures", lambda *args: drawn.append(args) or {}
    )
    assert call(model, *FLAGS, "--epochs", 1, "--seed", 7, "--output-dir", tmp_path) == 0
    draws = tf.random.stateless_normal((64, 2), seed=(7, 0))  # the same in both scripts
    for epoch, (_, _, random_vector, data, title, *prior) in enumerate(drawn):
        np.testing.assert_array_equal(random_vector, draws)
        assert data.fingerprint == DATA.fingerprint
        assert title == f"{TITLES[model]}, digits (scikit-learn), epoch {epoch}"
        assert prior == [None, None]
    decode, mean, *_ = drawn[1]
    run = load_run(folder(tmp_path, model))
    np.testing.assert_allclose(mean, run.encode(DATA.test_images), atol=1e-5)
    np.testing.assert_allclose(decode(draws), run.decode(draws), atol=1e-5)


@both
def test_main_returns_the_trained_run_as_load_run_does(model, trained):
    run, returned = load_run(folder(trained[0], model)), trained[2][model]
    assert returned.settings == run.settings
    assert returned.fingerprint == run.fingerprint
    np.testing.assert_array_equal(returned.encode(DATA.test_images), run.encode(DATA.test_images))
    np.testing.assert_array_equal(returned.sample(3)[1], run.sample(3)[1])
    x, rng = DATA.train_images.numpy() / np.float32(255), tf.random.Generator.from_seed(0)
    _, terms = SCRIPTS[model].compute_loss(x, run.encoder, run.decoder, rng)
    first = abs(next(iter(terms.values())))  # in cvae a sum over 60 images, not over 20
    last = abs(losses(run.folder)[-1][1])  # the mean over an epoch in which it fell
    assert last / 2 < first / (3 if model == "cvae" else 1) < last


@both
@pytest.mark.parametrize(("size", "number"), [(100, 15), (700, 2)])
def test_an_epoch_has_the_batches_of_a_seeded_shuffle(model, size, number, tmp_path, monkeypatch):
    batches, data = [], load_dataset("digits")

    def record(x, *_, **state):
        batches.append(x.numpy())
        return dict.fromkeys(LOSSES[model], tf.constant(float(len(batches))))

    monkeypatch.setattr(SCRIPTS[model], "load_data", lambda *_: data)
    monkeypatch.setattr(SCRIPTS[model], "train_step", record)
    monkeypatch.setattr(common.data.batches, "EPOCH", 1500)
    flags = ("--epochs", 2, "--seed", 3, "--batch-size", size, "--output-dir", tmp_path)
    assert call(model, *flags) == 0
    expected = [batch for epoch in (1, 2) for batch in shuffled_batches(1500, size, 3, epoch)]
    assert len(batches) == len(expected) == 2 * number
    for found, batch in zip(batches, expected, strict=True):
        x = data.train_images.numpy()[batch].astype("float32") / np.float32(255)
        np.testing.assert_allclose(found, x, rtol=2e-7)
    means = [np.mean(range(1, number + 1)), np.mean(range(number + 1, 2 * number + 1))]
    assert losses(folder(tmp_path, model)) == [
        [epoch, *[mean] * len(LOSSES[model])] for epoch, mean in enumerate(means, 1)
    ]


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal")
def test_progress_bar_on_a_terminal(tmp_path):
    flags = ("--dataset", "digits", "--epochs", 2, "--batch-size", 4)
    output = Script("mmd", tmp_path, *flags, terminal=True).expect(0)
    assert re.search(r"epoch [12]: .*\d+/60 \[.*<.*(batch/s|s/batch)\]", output)
    assert re.findall(LINES["mmd"], output) == ["1", "2"]


@pytest.mark.usefixtures("no_training")
def test_flags_that_differ_from_the_default_are_printed(here):
    first = here("cvae", "--dtype", "float64", "--latent-dim", 3, "--beta", 1).splitlines()[0]
    for part in ("(beta = 1)", "latent dimensions 3", "0.001", "float64"):
        assert part in first


@pytest.mark.slow
def test_main_restores_the_global_state_of_the_calling_program(tmp_path, monkeypatch):
    keras.config.set_image_data_format("channels_first")  # the fixtures restore it
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    monkeypatch.setattr("common.training.exports.draw_figures", draw_figures)

    def global_state():
        return configuration(), [*map(signal.getsignal, SIGNALS)], matplotlib.rcParams.copy()

    before = global_state()
    flags = (*FLAGS, "--epochs", "1", "--output-dir", str(tmp_path), "--dtype", "float64")
    run = SCRIPTS["mmd"].main(flags)
    assert global_state() == before
    mean = run.encode(DATA.test_images)
    assert mean.dtype == "float64"
    np.testing.assert_array_equal(load_run(run.folder).encode(DATA.test_images), mean)
    with concurrent.futures.ThreadPoolExecutor() as pool:  # no handler can be set in a thread
        again = pool.submit(SCRIPTS["mmd"].main, [*flags, "--fresh"]).result()
    assert again.fingerprint == run.fingerprint


@pytest.mark.parametrize(("model", "flags", "named"), [
    ("mmd", ["--seed", 1], ["--seed", 0, 1]),
    ("mmd", ["--latent-dim", 3], ["--latent-dim", 2, 3]),
    ("mmd", ["--learning-rate", 0.01], ["--learning-rate", 0.001, 0.01]),
    ("mmd", ["--batch-size", 50], ["--batch-size", 20, 50]),
    ("mmd", ["--dtype", "float64"], ["--dtype", "float32", "float64"]),
    ("cvae", ["--beta", 1], ["--beta", "not given", 1.0]),
    ("mmd", ["--cross-entropy"], ["--cross-entropy", "not given", True]),
    ("mmd", [], ["train_images", 60, 50]),  # other data with the same name
])  # fmt: skip
def test_a_run_with_other_settings_is_refused(model, flags, named, trained, monkeypatch, capsys):
    before = state(folder(trained[0], model))
    if not flags:
        monkeypatch.setattr(SCRIPTS[model], "load_data", lambda _: few_digits(train=50))
    assert call(model, *FLAGS, "--output-dir", trained[0], *flags) == 2
    error = capsys.readouterr().err
    assert re.search(r"\b.*\b".join(map(str, named)), error), error
    assert "--output-dir" in error
    assert "--fresh" in error
    assert state(folder(trained[0], model)) == before


@pytest.mark.parametrize(("flags", "more"), [((), " --dataset digits"), (FLAGS[:2], "")])
def test_the_command_to_resume_names_the_digits(flags, more, tmp_path, monkeypatch, capsys):
    """Without --dataset, the digits have replaced Fashion-MNIST, which may be available later."""
    monkeypatch.setattr("mmd_cvae.train_step", Mock(side_effect=OSError(5, "Oh", "there")))
    monkeypatch.setattr("sys.orig_argv", ["python", "mmd_cvae.py", *flags])
    assert call("mmd", *flags, "--batch-size", 20, "--output-dir", tmp_path) == 2
    command = " ".join(["mmd_cvae.py", *flags])
    assert capsys.readouterr().err.endswith(f" {command}{more}\n")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "flags"), [
    ("cvae", "--alpha 0.5 --lambda 3 --vamp-prior 5 --latent-dim 3 --kernel imq --dtype float64"),
    ("mmd", "--lambda 784 --cross-entropy --kernel imq"),
])  # fmt: skip
def test_runs_with_other_objectives_are_resumed_exactly_and_loaded(model, flags, tmp_path, capsys):
    flags = [*FLAGS, "--epochs", 2, *flags.split(), "--learning-rate", 0.01, "--output-dir"]
    assert call(model, *flags, tmp_path / "a") == 0
    assert call(model, *flags, tmp_path / "b", "--epochs", 1) == 0
    assert call(model, *flags, tmp_path / "b") == 0
    a, b = (folder(tmp_path / name, model) for name in "ab")
    assert losses(a) == losses(b)
    assert len(losses(a)) == 2
    run = load_run(a)
    assert run.fingerprint == load_run(b).fingerprint
    assert "loss_mmd_total" in (a / "losses.csv").read_text().splitlines()[0]
    small = re.findall(r"\d\.(\d+) loss_mmd_total", capsys.readouterr().out)
    assert {*map(len, small)} == {4}
    z, images = run.sample(5, seed=1)
    assert images.shape == (5, 28, 28, 1)
    if "--vamp-prior" in flags:
        assert (a / f"{model}_pseudo_inputs_epoch_2.png").exists()
        images = run.prior.images.numpy()
        assert 0 <= images.min() < images.max() <= 1
        assert np.abs(images * 255 - (images * 255).round()).max() > 0.01  # they are trained
        assert run.centres().shape == (run.flags["vamp_prior"], run.flags["latent_dim"])
        assert not np.allclose(z, StandardNormal().sample(5, z.shape[1], 1))


@pytest.mark.slow
def test_the_comparison_of_a_run_with_a_vamp_prior(tmp_path, monkeypatch):
    monkeypatch.setattr("common.trained.load_dataset", lambda *_: DATA)
    monkeypatch.setattr("common.compare.judge.EPOCHS", 1)
    monkeypatch.setattr("common.compare.evaluate.PRIOR_DRAWS", 300)
    wrapped = Mock(wraps=metrics.to_gaussian)
    monkeypatch.setattr(metrics, "to_gaussian", wrapped)
    flags = ("--epochs", 1, "--beta", 1, "--vamp-prior", 7, "--output-dir", tmp_path)
    assert call("cvae", *FLAGS, *flags) == 0
    place = folder(tmp_path, "cvae")
    assert call(compare.main, place, "--iw-samples", 2, "--iw-images", 9) == 0
    values = json.loads((place / "metrics.json").read_text())["values"]
    run = load_run(place)
    mean, logvar = run.encoder(DATA.test_images / np.float32(255))
    rng = tf.random.Generator.from_seed(0)
    z = mean + rng.normal(mean.shape) * tf.exp(logvar / 2)
    posterior = normal_loglik(z, mean, logvar)
    kl, to_normal = (
        float(tf.reduce_mean(posterior - prior.log_prob(z)))
        for prior in (run.mixture(), StandardNormal())
    )
    assert values["KL part of the ELBO"] == pytest.approx(kl, rel=1e-3)
    assert kl != pytest.approx(to_normal, rel=0.01)
    for (normal, *_), _ in wrapped.call_args_list:  # of N(0, I) for every prior
        np.testing.assert_array_equal(normal, StandardNormal().sample(300, 2, 0))
    assert "`--beta 1`, `--vamp-prior 7`" in place.with_name("comparison.md").read_text()
