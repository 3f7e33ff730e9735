"""The explorer: what is in the page, and what it does in a real browser."""

import base64
import functools
import hashlib
import io
import json
import os
import re
import shutil

from common.compare.evaluate import VERSION
from common.data.sources import Dataset
from common.explore import __main__ as explore
from common.explore import page as pages
from common.load import SCRIPTS as NAMES
from common.load import load_run
from common.objectives import priors
from common.plotting import latent_plane
from common.program.errors import UserError
from common.program.files import write_json
from common.trained import Trained, check_codes

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import SCRIPTS, call, cut, few_digits, snapshot

HOSTILE = ("</script><img src=x onerror='hacked=1'>", "<b>bold</b> & $x^{$", "日本 \u202e\ud800")
N = 60  # test images


def data_set(shape=(28, 28, 1), names=("left", "right"), title="dots"):
    """Noise around a bright half."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(names) or 1, size=N)
    images = rng.integers(0, 90, size=(N, *shape), dtype="u1")
    images[labels == 0, :, : shape[1] // 2] += 150
    labels = labels if names else None
    return Dataset("dots", title, tf.constant(images), labels, images, labels, names)


def trained(model, data, folder, latent_dim=2, vamp_prior=None, **flags):
    """A run whose weights are drawn wide, so that its images differ."""
    script = SCRIPTS[model]
    keras.utils.set_random_seed(latent_dim)
    encoder, decoder = script.Encoder(latent_dim), script.Decoder(latent_dim, data.image_shape)
    x = data.test_images.astype("f4") / 255
    encoder(x)
    decoder(tf.zeros((1, latent_dim)))
    for layer in decoder.layers[:1] + encoder.layers[-1:]:
        layer.set_weights([8 * weight + 0.1 for weight in layer.get_weights()])
    models = {"encoder": encoder, "decoder": decoder}
    if vamp_prior:  # of narrow Gaussians: draws of N(0, I) are far from all of them
        encoder.dense.bias.assign_add(np.repeat(np.float32([0, -14]), latent_dim))
        models["prior"] = priors.begin_pseudo_inputs(vamp_prior, data.train_images, 0)
    default = vars(script.get_args([]))
    flags = default | {"latent_dim": latent_dim, "vamp_prior": vamp_prior, "epochs": 7} | flags
    about = {"name": data.name, "title": data.title, "image_shape": list(data.image_shape)}
    about["fingerprint"] = data.fingerprint
    settings = {"model": model, "flags": flags, "dataset": about}
    run = Trained(folder / model, settings, models, script.encode, script.decode)
    run.data = lambda *_: data
    return run


def in_page(file):
    """A page's style, script and data, and its policy; what it links to is none."""
    text = file.read_text(encoding="utf-8")
    parts = re.findall(r"<(script|style)([^>]*)>(.*?)</\1>", text, re.DOTALL)
    found = {dict(re.findall('(id)="(.*?)"', attrs)).get("id", tag): t for tag, attrs, t in parts}
    outside = text
    for part in found.values():
        outside = outside.replace(part, "")
    assert set(re.findall('(?:src|href)="(.*?)"', outside)) == {"data:,"}
    return found | {"policy": re.search('Policy" content="(.*?)"', outside)[1]}


# The file ---------------------------------------------------------------------


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4")


def test_a_page_of_finished_runs_holds_all_and_loads_nothing(
    tmp_path, short_epochs, monkeypatch, capsys
):
    monkeypatch.setattr("common.training.exports.draw_figures", lambda *_: {})
    monkeypatch.setattr("common.trained.load_dataset", few_digits)
    out = tmp_path / "outputs"
    flags = ("--dataset", "digits", "--epochs", 1, "--batch-size", 30, "--output-dir", out)
    for model, script in SCRIPTS.items():
        monkeypatch.setattr(script, "load_data", few_digits)
        assert call(model, *flags) == 0
    before = snapshot(tmp_path)
    capsys.readouterr()
    monkeypatch.chdir(tmp_path)
    assert call(explore.main) == 0  # the one data set that is there
    said, file = capsys.readouterr().out, out / "digits" / "explorer.html"
    assert said == "outputs/digits/explorer.html, 0.5 MB. Open it in a browser.\n"
    assert snapshot(tmp_path).keys() - before.keys() == {file.relative_to(tmp_path)}
    found = in_page(file)
    for part in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(found[part].encode()).digest()).decode()
        assert f"{part}-src 'sha256-{digest}'" in found["policy"]
    assert found["policy"].startswith("default-src 'none'; ")
    assert not re.search("https?:", file.read_text(encoding="utf-8"))
    content, data = json.loads(found["data"]), few_digits()
    (of_data,) = content["datasets"]
    assert [one["name"] for one in of_data["classes"]] == list(data.class_names)
    assert [one["count"] for one in of_data["classes"]] == np.bincount(data.test_labels).tolist()
    order = np.frombuffer(base64.b64decode(of_data["numbers"]), "<u4")
    for panel, model in zip(content["runs"], NAMES, strict=True):
        run = load_run(out / "digits" / model)
        mean = floats(panel["means"]).reshape(-1, 2)
        np.testing.assert_array_equal(mean, run.encode(data.test_images)[order])
        kernel = floats(panel["decoder"]["deconv1"]["kernel"]).reshape(32, 3, 3, 64)
        np.testing.assert_array_equal(
            kernel, run.decoder.deconv1.kernel.numpy().transpose(3, 0, 1, 2)
        )
        titles = [table["title"] for table in panel["tables"]]
        assert titles == ["Flags", "Losses of the last epoch"]  # nothing was measured
    # Once more, over the first; a damaged and an unfinished run leave that as it is
    assert call(explore.main, out / "digits", "--output", file) == 0
    whole = file.read_bytes()
    cut(out / "digits" / "mmd" / "decoder.keras")
    assert call(explore.main, out / "digits") == 2
    assert "decoder.keras is damaged" in capsys.readouterr().err
    (out / "digits" / "mmd" / "encoder.keras").unlink()
    assert call(explore.main, out / "digits") == 2
    assert "it is not finished. To go on:\npython mmd_cvae.py" in capsys.readouterr().err
    assert file.read_bytes() == whole


def test_what_is_in_the_way_is_left_as_it_is(tmp_path, monkeypatch, capsys):
    run = trained("mmd", data_set(), tmp_path)
    monkeypatch.setattr(explore, "load_run", lambda folder: run)
    (tmp_path / "mine.html").write_text("my own")
    assert call(explore.main, "a", "--output", tmp_path / "mine.html") == 2
    assert "mine.html is there, and no page of this program" in capsys.readouterr().err
    assert (tmp_path / "mine.html").read_text() == "my own"
    run.folder.mkdir()
    (run.folder / "settings.json").write_text("{}")
    assert call(explore.main, "a", "--output", run.folder / "a.html") == 2
    assert "is a run's folder" in capsys.readouterr().err
    assert call(explore.main, "a", "--output", tmp_path / "mine.html" / "a.html") == 2
    assert "mine.html: File exists. Mend that, or choose another" in capsys.readouterr().err
    assert call(explore.main, "a", "--output", tmp_path / "new" / "a.html") == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.html"]


def test_codes_too_large_to_measure_are_refused(tmp_path, monkeypatch):
    run = trained("mmd", data_set(), tmp_path)
    for factor in (1e20, np.nan):
        monkeypatch.setattr(run, "_encode", lambda x, f=factor: np.full((len(x), 2), f))
        with pytest.raises(UserError, match="beyond what can be measured: its training diverged"):
            pages.content([run])
        with pytest.raises(UserError, match="its training diverged"):
            check_codes(run, run.encode(run.data().test_images))


def test_metrics_are_shown_of_these_models_alone(tmp_path):
    run = trained("mmd", data_set(), tmp_path)
    run.folder.mkdir()
    basis = {"models": run.fingerprint, "iw": [500, 99], "version": VERSION}
    kept = {"basis": basis, "values": {"precision": 0.25, "odd": 1}}
    run.settings["models"], file = run.fingerprint, run.folder / "metrics.json"
    write_json(file, kept)
    rows, meanings = pages.measured(run)
    assert rows == [["precision", "0.250"]]
    assert meanings.keys() == {"precision"}
    for name, other in (("models", "another's"), ("version", VERSION - 1)):
        write_json(file, kept | {"basis": basis | {name: other}})
        assert pages.measured(run) == ([], {})
    for spoil in (lambda: cut(file), file.unlink):
        write_json(file, kept)
        spoil()
        assert pages.measured(run) == ([], {})


@pytest.mark.skipif(os.name != "posix", reason="pipes")
def test_losses_that_are_no_file_are_not_waited_for(tmp_path):
    run = trained("mmd", data_set(), tmp_path)
    run.folder.mkdir()
    os.mkfifo(run.folder / "losses.csv")
    assert pages.losses(run) == []


def test_places_on_the_disk_are_not_shown(tmp_path):
    places = {"images": "/disk/private/faces", "data_dir": "/disk/a", "output_dir": "/disk/b"}
    tables = pages.tables(trained("mmd", data_set(), tmp_path, **places))
    (flags,) = [table["rows"] for table in tables if table["title"] == "Flags"]
    assert ["--images", "faces"] in flags
    assert "disk" not in str(flags)
    tables = pages.tables(trained("mmd", data_set(), tmp_path, dataset="emnist/letters"))
    assert ["--dataset", "emnist/letters"] in tables[0]["rows"]


def test_the_picture_of_a_test_set_is_no_larger_than_a_webp_may_be(monkeypatch):
    monkeypatch.setattr(pages, "WEBP_SIDE", 28 * 5 + 27)
    found = pages.dataset(data_set())
    assert (found["size"], found["columns"]) == (25, 5)


def test_of_a_large_test_set_the_first_images(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "MOST_BYTES", 30_000)
    data = data_set()
    run = trained("cvae", data, tmp_path)
    content = pages.content([run, trained("mmd", data, tmp_path)])
    (found,) = content["datasets"]
    n = found["size"]
    assert 10 < n < N == found["total"]
    assert len(base64.b64decode(found["sprite"].split(",")[1])) < 40_000
    order = np.frombuffer(base64.b64decode(found["numbers"]), "<u4")
    assert sorted(order) == list(range(n))
    assert data.test_labels[order].tolist() == sorted(data.test_labels[:n])
    means = floats(content["runs"][0]["means"]).reshape(n, 2)
    np.testing.assert_array_equal(means, run.encode(data.test_images)[order])


def test_of_a_larger_test_set_than_is_shown_in_one_dimension(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "MOST_IMAGES", N - 10)
    (panel,) = pages.content([trained("cvae", data_set(), tmp_path, 1)])["runs"]
    assert len(floats(panel["points"])) == 2 * (N - 10)


def test_more_dimensions_are_the_figures_plane_and_eight_components(tmp_path):
    data = data_set()
    run = trained("cvae", data, tmp_path, 12)
    (panel,) = pages.content([run])["runs"]
    mean, axes = run.encode(data.test_images), np.array(panel["axes"])
    points, lift, labels = latent_plane(mean)
    order = np.argsort(data.test_labels, kind="stable")
    np.testing.assert_allclose(floats(panel["points"]).reshape(-1, 2), points[order], rtol=1e-5)
    place = np.array([[0.3, -1.2]])
    np.testing.assert_allclose(panel["origin"] + place @ axes[:2], lift(place), rtol=1e-5)
    np.testing.assert_allclose(axes @ axes.T, np.eye(10), atol=1e-5)
    assert tuple(panel["labels"]) == labels
    further = (mean - np.array(panel["origin"])) @ axes[2:].T
    np.testing.assert_allclose(panel["spread"], further.std(axis=0, ddof=1), rtol=1e-4)


# In a browser -----------------------------------------------------------------

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
in_browser = pytest.mark.skipif(not BROWSER, reason="there is no Chromium")


@pytest.fixture(scope="module")
def chromium():
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of either script, in grey and in colour, of one, two and more dimensions."""
    folder = tmp_path_factory.mktemp("runs")
    grey, colour = data_set(), data_set((32, 24, 3), HOSTILE, HOSTILE[0])
    plain = data_set((28, 20, 1), (), "without classes")
    return [
        trained("cvae", grey, folder),
        trained("mmd", grey, folder, seed=1),
        trained("mmd", colour, folder),
        trained("cvae", grey, folder, 12, vamp_prior=5, beta=1.0),
        trained("mmd", plain, folder, 1),
    ]


@pytest.fixture(scope="module")
def content(runs):
    return pages.content(runs)


@pytest.fixture(scope="module")
def file(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "a page.html"
    path.write_bytes(pages.to_html(content))
    return path


@pytest.fixture(scope="module")
def open_page(file, chromium):
    """A function that opens the page; no message is left in the console, nothing was asked for."""
    opened, messages, asked = [], [], []

    def open_page(place=file, **options):
        size = {"width": 1280, "height": 900}
        context = chromium.new_context(**{"viewport": size, "offline": True} | options)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(place.as_uri())
        settle(page)
        opened.append(context)
        return page

    yield open_page
    for context in opened:
        context.close()
    assert not messages
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in asked) == len(opened)


@pytest.fixture(scope="module")
def opened(open_page):
    return open_page()


@pytest.fixture
def page(opened):
    """The page, opened once, as it begins but for the draws and the place that is looked at."""
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.emulate_media(color_scheme="light")
    for kind in ("kind", "end"):
        opened.locator(f"[name={kind}]").first.check()
    opened.get_by_label("panels move together").check()
    opened.get_by_role("button", name="Show all").click()
    for button in opened.get_by_role("button", name="all", exact=True).all():
        button.click()
    opened.locator("#frames").fill("17")
    settle(opened)
    return opened


def settle(page):
    """Until all that was asked of the decoders is on the page."""
    page.evaluate("Promise.all(explorer.panels.map((_, i) => explorer.settled(i)))")


def decoded(page, run, i, z):
    """What the page's decoder makes of latent vectors, and Keras's: (n, h, w, channels) each."""
    found = [
        page.evaluate("([i, z]) => explorer.decode(i, z).then(a => [...a])", [i, one])
        for one in z.tolist()
    ]
    expected = run.decode(z)
    return np.array(found).reshape(expected.shape), expected


def pixels(page, i, canvas):
    """A panel's canvas, (h, w, 3) within [0, 1]."""
    url = page.evaluate("([i, name]) => explorer.panels[i][name].toDataURL()", [i, canvas])
    with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as image:
        return np.array(image)[..., :3] / 255


def assert_shows(canvas, image, atol=0.6 / 255):
    np.testing.assert_allclose(canvas, np.broadcast_to(image, canvas.shape), atol=atol)


def plot(page, i):
    return page.locator(".plot").nth(i)


def point_at(page, i, x, y, click=False):
    """Move the mouse to a share of a panel's width and height."""
    plot(page, i).scroll_into_view_if_needed()
    box = plot(page, i).bounding_box()
    at = round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"])
    page.mouse.move(*at)
    if click:
        page.mouse.click(*at)
    settle(page)


def wait_until(page, condition):
    """The page's policy keeps Playwright's own from being evaluated."""
    for _ in range(500):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(condition)


def state(page, path):
    return page.evaluate(f"explorer.{path}")


@in_browser
def test_decoding_equals_keras(page, runs):
    for i, run in enumerate(runs):
        z = np.random.default_rng(i).normal(size=(20, run.flags["latent_dim"])) * 2
        found, expected = decoded(page, run, i, z)
        assert np.ptp(expected, axis=0).max() > 0.1  # the images differ
        np.testing.assert_allclose(found, expected, atol=1e-4)
    assert len(page.evaluate("explorer.timed(2, 2)")) == 2


@in_browser
def test_pointing_decodes_the_same_place_in_every_panel(page, runs):
    before = page.evaluate("document.documentElement.scrollHeight")
    point_at(page, 0, 0.7, 0.3)
    x, y = state(page, "look.x"), state(page, "look.y")
    for i, run in enumerate(runs[:3]):
        assert_shows(pixels(page, i, "here"), run.decode([[x, y]])[0])
        assert f"({x:.2f}, {y:.2f})" in page.locator(".panel").nth(i).inner_text()
    assert_shows(pixels(page, 4, "here"), runs[4].decode([[x]])[0])
    point_at(page, 1, 0.6, 0.6)
    assert state(page, "look.x") != x
    assert page.evaluate("document.documentElement.scrollHeight") == before  # nothing has jumped


@in_browser
def test_near_a_point_are_the_test_image_its_class_and_its_reconstruction(page, runs):
    for i in (0, 2, 3):
        data, run = runs[i].data(), runs[i]
        mean = run.encode(data.test_images)
        points, _, _ = latent_plane(mean)
        chosen = 17
        js = "([i, x, y]) => explorer.toScreen(explorer.panels[i], { x, y })"
        left, top = page.evaluate(js, [i, *points[chosen].tolist()])
        plot(page, i).scroll_into_view_if_needed()
        box = plot(page, i).bounding_box()
        page.mouse.move(box["x"] + 1 + left, box["y"] + 1 + top)
        settle(page)
        number = page.evaluate(f"explorer.panels[{i}].data.numbers[explorer.panels[{i}].near]")
        distance = np.hypot(*(points - points[chosen]).T)
        assert distance[number] <= 0.05 * np.ptp(points)  # a pixel beside it
        assert_shows(pixels(page, i, "test"), data.test_images[number] / 255, atol=1e-6)
        assert_shows(pixels(page, i, "again"), run.decode(mean[number : number + 1])[0])
        caption = page.locator(".panel").nth(i).locator("figcaption").nth(1).text_content()
        assert caption.startswith(f"test image {number}: ")
        name = data.class_names[data.test_labels[number]]
        assert caption.endswith(name.replace("\ud800", "\ufffd"))


@in_browser
def test_in_one_dimension_height_is_no_distance(page, runs):
    point_at(page, 4, 0.5, 0.02)  # far above all points
    mean = runs[4].encode(runs[4].data().test_images)
    caption = page.locator(".panel").nth(4).locator("figcaption").nth(1).text_content()
    number = int(re.match(r"test image (\d+)", caption)[1])
    across = abs(mean[number, 0] - state(page, "look.x"))
    unit = plot(page, 4).bounding_box()["width"] / 2 / view(page, 4)[2]
    told = re.search(r"\(([\d.]+) away\)", caption)
    assert (told is None) == (across * unit <= 30)
    assert told is None or float(told[1]) == pytest.approx(across, abs=0.006)


@in_browser
def test_the_legend_counts_classes_and_switches_them(page, runs):
    legend = page.locator(".legend").first
    button = legend.get_by_role("button", name="left")
    count = int((runs[0].data().test_labels == 0).sum())
    assert button.inner_text().split() == ["left", str(count)]
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    for x in (0.2, 0.4, 0.6, 0.8):
        point_at(page, 0, x, 0.5)
        assert page.evaluate("explorer.panels[0].data.labels[explorer.panels[0].near]") == 1
    legend.get_by_role("button", name="none").click()
    assert "no class is shown" in page.locator(".panel").first.inner_text()
    legend.get_by_role("button", name="all").click()
    assert button.get_attribute("aria-pressed") == "true"


def view(page, i):
    return np.array([state(page, f"panels[{i}].view.{name}") for name in ("x", "y", "half")])


@in_browser
def test_zoom_pan_and_back_together_and_alone(page):
    home = view(page, 0)
    point_at(page, 0, 0.75, 0.25)
    under = state(page, "look.x"), state(page, "look.y")
    page.wait_for_timeout(500)  # the page was scrolled: while it is, the wheel goes on with that
    page.mouse.wheel(0, -300)
    wait_until(page, f"explorer.panels[0].view.half < {home[2]}")
    np.testing.assert_allclose(view(page, 1), view(page, 0))
    point_at(page, 0, 0.75, 0.25)
    np.testing.assert_allclose((state(page, "look.x"), state(page, "look.y")), under, rtol=1e-6)
    page.get_by_label("panels move together").uncheck()
    box = plot(page, 0).bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 80, steps=5)
    page.mouse.up()
    moved, left = view(page, 0), view(page, 1)
    unit = (box["width"] - 2) / 2 / moved[2]
    np.testing.assert_allclose((moved - left)[:2] * unit, (-50, -20), atol=0.01)
    ends = state(page, "ends")
    plot(page, 0).dblclick()
    np.testing.assert_allclose(view(page, 0), home)
    np.testing.assert_allclose(view(page, 1), left)
    assert state(page, "ends.image[0].image") == ends["image"][0]["image"]  # not clicked
    page.get_by_role("button", name="Show all").click()
    np.testing.assert_allclose(view(page, 1), home)


@in_browser
def test_the_keyboard_reaches_all_and_moves_the_place(page):
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        js = """() => {
            const e = document.activeElement, { outlineStyle, outlineWidth } = getComputedStyle(e);
            return [e.id || e.className || e.textContent, outlineStyle, parseFloat(outlineWidth)];
        }"""
        name, style, width = page.evaluate(js)
        if page.evaluate("document.activeElement !== document.body"):
            assert style != "none", name
            assert width >= 1
            reached.add(name)
    controls = {"plot", "together", "whole", "frames", "along", "play", "save", "draw", "fallen"}
    assert reached >= controls
    plot(page, 0).focus()
    x, y, half = state(page, "look.x"), state(page, "look.y"), view(page, 0)[2]
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowUp"):
        page.keyboard.press(key)
    np.testing.assert_allclose(state(page, "look.x"), x + half / 40)
    np.testing.assert_allclose(state(page, "look.y"), y + 6 * half / 40)
    assert state(page, "ends.next") == 0
    page.keyboard.press("Enter")
    assert state(page, "ends.next") == 1
    assert page.locator("#said").text_content().startswith("A: test image ")
    page.keyboard.press("+")
    assert view(page, 0)[2] == pytest.approx(0.8 * half)
    page.keyboard.press("0")
    assert view(page, 0)[2] == pytest.approx(half)
    for _ in range(60):
        page.keyboard.press("Shift+ArrowRight")
    assert view(page, 0)[0] + view(page, 0)[2] > state(page, "look.x")  # it stays in sight


@pytest.mark.slow
@in_browser
def test_morphing_between_two_test_images_and_between_two_places(page, runs, tmp_path):
    point_at(page, 0, 0.3, 0.6, click=True)
    point_at(page, 0, 0.7, 0.4, click=True)
    numbers = [
        page.evaluate(f"explorer.panels[0].data.numbers[explorer.ends.image[{k}].image]")
        for k in (0, 1)
    ]
    assert numbers[0] != numbers[1]

    def check(i, a, b, n):
        strip, width = pixels(page, i, "strip"), runs[i].data().image_shape[1]
        assert strip.shape[1] == n * width + (n - 1) * 2
        for k in (0, n // 2, n - 1):
            z = a + (b - a) * k / (n - 1)
            assert_shows(strip[:, k * (width + 2) :][:, :width], runs[i].decode(z)[0])

    for i in (0, 1, 3):
        mean = runs[i].encode(runs[i].data().test_images)
        check(i, mean[numbers[:1]], mean[numbers[1:]], 17)
    assert "images of another data set" in page.locator(".strip").nth(2).inner_text()
    for n in (9, 33):
        page.locator("#frames").fill(str(n))
        settle(page)
        check(0, *(runs[0].encode(runs[0].data().test_images)[[k]] for k in numbers), n)
    page.locator("#along").fill("0.25")
    settle(page)
    mean = runs[1].encode(runs[1].data().test_images)[numbers]
    assert_shows(pixels(page, 1, "here"), runs[1].decode(0.75 * mean[:1] + 0.25 * mean[1:])[0])
    hidden = [page.locator(".marker").nth(i).is_hidden() for i in range(3)]
    assert hidden == [False, False, True]  # of another data set nothing is on the way
    page.locator("#play").click()
    wait_until(page, "Math.abs(explorer.look.along - 0.25) > 0.1")
    page.get_by_role("button", name="Pause").click()
    point_at(page, 0, 0.5, 0.5)
    assert page.locator(".marker").first.is_hidden()
    film = page.locator(".film").first
    film.scroll_into_view_if_needed()
    film.click(position={"x": film.bounding_box()["width"] / 4, "y": 15})
    assert state(page, "look.along") == stopped_at(33, 1 / 4)
    stopped = state(page, "look.along")
    page.wait_for_timeout(100)
    assert state(page, "look.along") == stopped
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "strip.png")
    with Image.open(tmp_path / "strip.png") as image:
        assert image.width == 2 * (33 * 28 + 32 * 2)
        assert image.height == sum(32 + 2 * 28 for _ in range(3))
    page.get_by_label("places").check()
    point_at(page, 0, 0.35, 0.35, click=True)
    a = [state(page, f"ends.place[0].{name}") for name in "xy"]
    b = [state(page, f"ends.place[1].{name}") for name in "xy"]
    assert a == [state(page, "look.x"), state(page, "look.y")]
    check(1, np.array([a]), np.array([b]), 33)
    check(2, np.array([a]), np.array([b]), 33)


def stopped_at(n, share):
    """How far the image is along a strip of n that is at a share of its width, 28 pixels each."""
    return int(share * (n * 28 + (n - 1) * 2) / 30) / (n - 1)


@in_browser
def test_playing_leaves_no_strip_empty_and_goes_on_under_the_mouse(page, runs):
    point_at(page, 0, 0.3, 0.6, click=True)
    point_at(page, 0, 0.7, 0.4, click=True)
    page.locator("#play").click()
    page.locator("#frames").fill("25")
    point_at(page, 0, 0.5, 0.5)
    settle(page)
    a, b = (state(page, f"ends.image[{k}].image") for k in (0, 1))
    order = page.evaluate("[...explorer.panels[0].data.numbers]")
    mean = runs[0].encode(runs[0].data().test_images)[[order[a], order[b]]]
    expected = runs[0].decode(mean[1:])[0]
    wait_until(page, "explorer.look.along > 0")
    for _ in range(100):
        strip = pixels(page, 0, "strip")
        if np.abs(strip[:, -28:] - expected).max() < 0.6 / 255:
            break
        page.wait_for_timeout(50)
    assert_shows(strip[:, -28:], expected)
    assert page.get_by_role("button", name="Pause").count() == 1
    page.get_by_role("button", name="Pause").click()


@in_browser
def test_what_is_asked_for_all_the_time_leaves_others_their_turn(page):
    js = """async () => {
      const { decode, dim } = explorer.panels[0], z = new Float64Array(dim), served = [];
      let going = true;
      const ask = (purpose) => decode(purpose, z, () => {
        served.push(purpose);
        if (going && served.length < 100) ask(purpose);
      });
      const other = (k) => new Promise((done) => decode(`other ${k}`, z, done));
      const others = [0, 1, 2, 3, 4].map(other);
      for (const purpose of ["here", "again"]) ask(purpose);
      await Promise.all(others);
      going = false;
      return served.length;
    }"""
    assert page.evaluate(js) < 20


@in_browser
def test_a_plot_that_is_drawn_again_is_the_same(page):
    before = pixels(page, 0, "back")
    page.get_by_role("button", name="none", exact=True).first.click()
    page.get_by_role("button", name="all", exact=True).first.click()
    settle(page)
    page.wait_for_timeout(100)
    np.testing.assert_array_equal(pixels(page, 0, "back"), before)


@in_browser
def test_what_is_not_meant_for_the_plot_leaves_it(page):
    home = view(page, 0)
    point_at(page, 0, 0.5, 0.5)
    page.evaluate("performance.now = () => 0; dispatchEvent(new Event('scroll'))")
    page.mouse.wheel(0, -10)  # goes on with the scrolling
    page.mouse.down(button="right")
    point_at(page, 0, 0.7, 0.6)
    page.mouse.up(button="right")
    page.evaluate("delete performance.now")
    np.testing.assert_array_equal(view(page, 0), home)


@in_browser
def test_without_a_line_there_is_nothing_to_play_or_save(page):
    point_at(page, 0, 0.3, 0.6, click=True)
    point_at(page, 2, 0.5, 0.5, click=True)  # of another data set
    for name in ("along", "play", "save"):
        assert page.locator(f"#{name}").is_disabled()
    point_at(page, 0, 0.3, 0.6, click=True)
    point_at(page, 0, 0.7, 0.4, click=True)
    assert page.locator("#save").is_enabled()


@in_browser
def test_draws_of_the_prior_fall_where_they_are_shown(page, runs, content):
    before = state(page, "panels[0].fallen")
    page.locator("#draw").click()
    settle(page)
    z = np.array([[state(page, f"panels[0].fallen[{k}].{name}") for name in "xy"] for k in (0, 63)])
    assert z[0].tolist() != [before[0]["x"], before[0]["y"]]
    images = runs[0].decode(z)
    drawn = pixels(page, 0, "drawn")
    assert_shows(drawn[:28, :28], images[0])
    assert_shows(drawn[-28:, -28:], images[1])
    assert state(page, "panels[1].fallen") == state(page, "panels[0].fallen")  # the same noise
    centres = runs[3].mixture()[0].numpy()  # of the VampPrior: its draws fall around these
    points = [[place[name] for name in "xy"] for place in state(page, "panels[3].fallen")]
    (panel,) = [one for one in content["runs"] if one["latentDim"] == 12]
    axes, widest = np.array(panel["axes"][:2]), np.exp(runs[3].mixture()[1].numpy() / 2).max()
    marks = (centres - panel["origin"]) @ axes.T

    def far(points):
        return np.median(np.linalg.norm(points[:, None] - marks, axis=2).min(axis=1))

    normal = np.random.default_rng(0).normal(size=(64, 12)) - panel["origin"]
    assert far(np.array(points)) < 3 * widest < 1 < far(normal @ axes.T)


@in_browser
def test_more_dimensions_have_sliders(page, runs, content):
    sliders = page.locator(".panel").nth(3).get_by_role("slider")
    assert sliders.count() == 8
    (panel,) = [one for one in content["runs"] if one["latentDim"] == 12]
    value = panel["spread"][7]
    point_at(page, 3, 0.5, 0.5)
    sliders.nth(7).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )
    settle(page)
    places = [
        state(page, "look.x"),
        state(page, "look.y"),
        *[0] * 7,
        state(page, "panels[3].further[7]"),
    ]
    assert abs(places[-1]) > 0.5 * value
    z = np.array(panel["origin"]) + np.array(places) @ np.array(panel["axes"])
    assert_shows(pixels(page, 3, "here"), runs[3].decode(z[None])[0])


@in_browser
def test_ends_keep_where_the_sliders_were(page):
    page.get_by_label("places").check()
    point_at(page, 3, 0.4, 0.4, click=True)
    before = page.evaluate("[...explorer.between(3, 0)]")
    slider = page.locator(".panel").nth(3).get_by_role("slider").first
    slider.evaluate("e => { e.value = e.max; e.dispatchEvent(new Event('input')); }")
    assert page.evaluate("[...explorer.between(3, 0)]") == before
    slider.evaluate("e => { e.value = 0; e.dispatchEvent(new Event('input')); }")


@in_browser
def test_the_runs_are_one_table_without_places_on_the_disk(page, runs, content):
    rows = page.locator("#tables tr").all_inner_texts()
    assert rows[0].split("\t")[1:] == [
        panel["title"].replace("\ud800", "\ufffd") for panel in content["runs"]
    ]
    names = [row.split("\t")[0] for row in rows]
    assert "--seed" in names
    assert not {"--output-dir", "--data-dir"} & {*names}
    (seeds,) = [row.split("\t")[1:] for row in rows if row.startswith("--seed")]
    assert seeds == [str(run.flags["seed"]) for run in runs]


@in_browser
def test_names_are_text_whatever_characters_they_have(page):
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img, b").count() == 0
    shown = [name.replace("\ud800", "\ufffd") for name in HOSTILE]
    names = page.locator(".legend").nth(1).locator("button span:first-of-type").all_text_contents()
    assert [name.replace("\ud800", "\ufffd") for name in names] == shown
    assert page.locator(".legend").nth(1).locator("legend").text_content().startswith(HOSTILE[0])


@in_browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (800, "light"), (2560, "dark")])
def test_from_a_phone_to_a_projector(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", background)[0]) < 128) == (scheme == "dark")
    for i in range(5):
        box = plot(page, i).bounding_box()
        assert 250 < box["width"] <= width
        assert abs(box["width"] - box["height"]) < 60 or box["height"] >= 600


@in_browser
def test_where_it_cannot_work_it_says_so(chromium, file):
    context = chromium.new_context()
    page = context.new_page()
    page.add_init_script("Worker = class { constructor() { throw new Error('no workers'); } };")
    page.goto(file.as_uri())
    said = page.locator("#failed").text_content()
    context.close()
    assert said.startswith("This page does not work here: ")
    assert "no workers" in said


@in_browser
def test_touch(open_page, runs, tmp_path):
    alone = tmp_path / "alone.html"
    alone.write_bytes(pages.to_html(pages.content(runs[:1])))
    page = open_page(alone, has_touch=True, viewport={"width": 400, "height": 800})
    plot(page, 0).scroll_into_view_if_needed()
    box = plot(page, 0).bounding_box()
    x, y = state(page, "look.x"), state(page, "look.y")
    page.touchscreen.tap(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    settle(page)
    assert (state(page, "look.x"), state(page, "look.y")) != (x, y)
    assert state(page, "ends.next") == 1
    home = view(page, 0)
    send = functools.partial(page.context.new_cdp_session(page).send, "Input.dispatchTouchEvent")
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", 0)):
        two = [
            {"x": middle[0] + side * apart, "y": middle[1], "id": k}
            for k, side in enumerate((-1, 1))
        ]
        send({"type": kind, "touchPoints": two if apart else []})
    assert view(page, 0)[2] == pytest.approx(home[2] / 2, rel=0.05)
