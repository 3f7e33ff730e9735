"""Fixtures and helpers of the tests of the explorer."""

import base64
import contextlib
import io
import re
import shutil

from common.data.sources import Dataset
from common.explore import page as pages
from common.load import untrained
from common.objectives.priors import make_prior
from common.trained import Trained

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import SCRIPTS

HOSTILE = ("</script><img src=x onerror='hacked=1'>", "<b>bold</b> & $x^{$", "日本 \u202e\ud800")
N = 60  # test images


def data_set(shape=(28, 28, 1), names=("left", "right"), title="dots"):
    """Return a data set of noise. Images of the first class have a bright left half."""
    rng = np.random.default_rng(0)
    labels = rng.integers(len(names) or 1, size=N)
    images = rng.integers(0, 90, size=(N, *shape), dtype="u1")
    images[labels == 0, :, : shape[1] // 2] += 150
    labels = labels if names else None
    return Dataset("dots", title, tf.constant(images), labels, images, labels, names)


def trained(model, data, folder, latent_dim=2, vamp_prior=None, **flags):
    """Return a run with random weights that are large enough to give different images."""
    script = SCRIPTS[model]
    keras.utils.set_random_seed(latent_dim)
    flags |= {"latent_dim": latent_dim, "vamp_prior": vamp_prior, "epochs": 7}
    flags = vars(script.get_args([])) | flags
    models = untrained(script, flags, data.image_shape)
    for layer in models["decoder"].dense, models["encoder"].dense:
        layer.set_weights([8 * weight + 0.1 for weight in layer.get_weights()])
    if vamp_prior:  # narrow Gaussians, far from most draws from N(0, I)
        models["encoder"].dense.bias.assign_add(np.repeat(np.float32([0, -14]), latent_dim))
        models["prior"] = make_prior(vamp_prior, data.train_images, 0)
    about = {name: getattr(data, name) for name in ("name", "title", "image_shape", "fingerprint")}
    settings = {"model": model, "flags": flags, "dataset": about}
    run = Trained(folder / model, settings, models, script.encode, script.decode)
    run.data = lambda *_: data
    return run


def in_page(file):
    """Return the style, the script and the data of a page."""
    text = file.read_text(encoding="utf-8")
    parts = re.findall(r'<(script|style)(?:[^>]* id="(.*?)")?>(.*?)</\1>', text, re.DOTALL)
    return {name or tag: part for tag, name, part in parts}


def decode_base64(text, dtype="<f4"):
    return np.frombuffer(base64.b64decode(text), dtype)


@pytest.fixture(scope="module")
def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    if not (path := next(filter(None, map(shutil.which, names)), None)):
        pytest.skip("requires Chromium")
    api = pytest.importorskip("playwright.sync_api", reason="requires: pip install playwright")
    options = {"executable_path": path, "args": ["--no-sandbox"]}
    with api.sync_playwright() as playwright, playwright.chromium.launch(**options) as browser:
        yield browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return runs of both scripts, on grey and colour images, with 1, 2 and 12 dimensions."""
    folder = tmp_path_factory.mktemp("runs")
    grey, colour = data_set(), data_set((32, 24, 3), HOSTILE, HOSTILE[0])
    return [
        trained("cvae", grey, folder),
        trained("mmd", grey, folder, seed=1),
        trained("mmd", colour, folder),
        trained("cvae", grey, folder, 12, vamp_prior=5, beta=1.0),
        trained("mmd", data_set((28, 20, 1), (), "without classes"), folder, 1),
    ]


@pytest.fixture(scope="module")
def content(runs):
    return pages.content(runs)


@pytest.fixture(scope="module")
def file(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "a page.html"
    path.write_bytes(pages.to_html(content))
    return path


@contextlib.contextmanager
def open_page(chromium, file, **options):
    """Open a page without a network. At the end, check the console and the requests."""
    size, messages, requests = {"width": 1280, "height": 900}, [], []
    with chromium.new_context(**{"viewport": size, "offline": True} | options) as context:
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        settle(page)
        yield page
    assert not messages
    assert {url for url in requests if not url.startswith(("data:", "blob:"))} == {file.as_uri()}


@pytest.fixture(scope="module")
def opened(chromium, file):
    with open_page(chromium, file) as page:
        yield page


@pytest.fixture
def page(opened):
    """Return the page, which all tests share, with its controls and views reset."""
    opened.set_viewport_size({"width": 1280, "height": 900})
    opened.emulate_media(color_scheme="light")
    for control in ("[name=kind]", "[name=end]", "#together"):
        opened.locator(control).first.check()
    opened.locator("#frames").fill("17")
    opened.locator("#resetView").click()
    opened.evaluate("scrollTo(0, 0)")
    settle(opened)
    return opened


def settle(page):
    """Wait until all decoders have finished."""
    page.evaluate("Promise.all(explorer.panels.map((_, i) => explorer.settled(i)))")


def state(page, path):
    return page.evaluate(f"explorer.{path}")


def position(page, path="cursor"):
    return [state(page, f"{path}.{axis}") for axis in "xy"]


def view(page, i):
    return np.array([*position(page, f"panels[{i}].view"), state(page, f"panels[{i}].view.half")])


def shown(text):
    """Return a text as browsers show it: without a surrogate, which is not a character."""
    return text.replace("\ud800", "\ufffd")


def means(run):
    return run.encode(run.data().test_images)


def pixels(page, i, canvas):
    """Return the pixels (h, w, 3) of a canvas of a panel, from 0 to 1."""
    url = page.evaluate("([i, name]) => explorer.panels[i][name].toDataURL()", [i, canvas])
    with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as image:
        return np.array(image)[..., :3] / 255


def assert_shows(canvas, image, atol=0.6 / 255):
    np.testing.assert_allclose(canvas, np.broadcast_to(image, canvas.shape), atol=atol)


def plot(page, i):
    return page.locator(".plot").nth(i)


def caption_of(page, i):
    return page.locator(".panel").nth(i).locator("figcaption").nth(1).text_content()


def point_at(page, i, x, y, click=False):
    """Move the mouse to a share of a panel's width and height."""
    plot(page, i).scroll_into_view_if_needed()
    box = plot(page, i).bounding_box()
    pixel = round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"])
    page.mouse.move(*pixel)
    if click:
        page.mouse.click(*pixel)
    settle(page)


def choose_ends(page):
    """Click on two test images of the first panel, and return their numbers in the test set."""
    point_at(page, 0, 0.3, 0.6, click=True)
    point_at(page, 0, 0.7, 0.4, click=True)
    number = "panels[0].data.numbers[explorer.ends.image[{}].image]"
    return [state(page, number.format(k)) for k in (0, 1)]


def wait_until(page, condition):
    """Wait up to 10 s. The policy of the page forbids Playwright's own function for this."""
    assert any(condition() or page.wait_for_timeout(20) for _ in range(500))
