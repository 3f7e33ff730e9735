"""Tests of what the explorer's page shows in one view, with a mouse and with a keyboard."""

import base64
import io
import re

from common import plotting
from common.explore import page as pages

import numpy as np
import pytest
from explorer import (
    caption_of,
    choose_ends,
    open_page,
    pixels,
    plot,
    point_at,
    position,
    wait_until,
)
from matplotlib.colors import to_hex
from PIL import Image

SIZES = [(1366, 650), (1400, 900), (1920, 1080), (390, 844)]


def boxes(page, i):
    """Return the boxes of a panel's plot and of its three images and captions."""
    panel = page.locator(".panel").nth(i)
    return [one.bounding_box() for one in panel.locator(".plot, figure > *").all()]


def assert_visible(boxes, size):
    for box in boxes:
        assert min(box["width"], box["height"]) > 10
        assert box["x"] >= 0 and box["y"] >= 0  # noqa: PT018
        assert box["x"] + box["width"] <= size[0]
        assert box["y"] + box["height"] <= size[1]


@pytest.mark.parametrize("size", SIZES)
def test_a_plot_and_its_decoded_images_are_visible_together(page, size):
    page.set_viewport_size(dict(zip(("width", "height"), size, strict=True)))
    page.locator("#save").focus()  # below all panels
    for i in (4, 1):  # upwards: the browser alone would show the plot but not its images
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        plot(page, i).focus()
        page.keyboard.press("ArrowRight")
        assert_visible(boxes(page, i), size)
    page.evaluate("scrollTo(0, 0)")
    plot(page, 0).focus()
    is_reached = "document.activeElement === explorer.panels[1].plot"
    tabs = (page.keyboard.press("Tab") for _ in range(9))  # downwards
    assert any(page.evaluate(is_reached) for _ in tabs)
    assert_visible(boxes(page, 1), size)


@pytest.mark.parametrize("size", SIZES)
def test_two_runs_are_visible_without_scrolling(chromium, runs, tmp_path, size):
    file, viewport = tmp_path / "two.html", dict(zip(("width", "height"), size, strict=True))
    file.write_bytes(pages.to_html(pages.content(runs[:2])))
    with open_page(chromium, file, viewport=viewport) as page:
        for i in (0, 1) if size[0] > 400 else (0,):
            assert_visible(boxes(page, i), size)


def test_help_is_hidden_and_names_only_marks_of_the_page(chromium, page, runs, tmp_path):
    text = page.locator("#help p").nth(1)
    assert text.is_hidden()
    page.locator("#help summary").click()
    assert all(mark in text.inner_text() for mark in ("Circles", "Vertical lines", "VampPrior"))
    page.locator("#help summary").click()
    assert page.locator("#space ~ .help kbd").all_inner_texts() == ["+", "\u2212", "0"]
    file = tmp_path / "two.html"
    file.write_bytes(pages.to_html(pages.content(runs[:2])))
    with open_page(chromium, file) as other:
        text = other.locator("#help").text_content()
        assert "Circles" in text
        assert not any(mark in text for mark in ("Vertical lines", "VampPrior"))


def test_metrics_have_arrows_and_definitions_and_losses_are_compared_only_if_comparable(
    chromium, runs, tmp_path, content
):
    found = [pages.objective(run) for run in runs[:2]]
    assert found[0] != found[1]
    tables = [
        {"title": "Losses of the last epoch", "rows": [["total", "7"]], "about": {}},
        {"title": "Metrics", "rows": [["precision", "0.5"]], "about": {
            "precision": {"arrow": pages.arrow("precision"), "meaning": "Share of <b> images."}}},
    ]  # fmt: skip
    for objectives, is_comparable in ((found, False), (found[:1] * 2, True)):
        panels = [
            {**panel, "objective": one, "tables": tables}
            for panel, one in zip(content["runs"][:2], objectives, strict=True)
        ]
        file = tmp_path / "tables.html"
        file.write_bytes(pages.to_html({**content, "runs": panels}))
        with open_page(chromium, file) as page:
            table = page.locator("#tables table")
            assert table.locator("caption").count() == 1
            assert ("Not comparable" in table.inner_text()) == (not is_comparable)
            assert table.locator("summary").inner_text() == "precision ↑"
            meaning = table.get_by_text("Share of <b> images.")
            assert meaning.is_hidden()
            table.locator("summary").click()
            assert meaning.is_visible()


def test_arrows_point_in_the_better_direction():
    arrows = map(pages.arrow, ("precision", "mean squared error", "edges kept", "classes", "total"))
    assert [*arrows] == ["↑", "↓", "→ 1", "↑", ""]


def test_images_far_from_all_test_images_are_opaque_and_have_a_distance(page, runs):
    page.evaluate("explorer.panels[0].view.half *= 1.5")  # makes room around the points
    point_at(page, 0, 0.02, 0.02)
    opacities = page.locator("figure canvas").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).opacity)"
    )
    assert set(opacities) == {"1"}
    codes = runs[0].encode(runs[0].data().test_images)
    distance = float(re.search(r"\(([\d.]+) away\)", caption_of(page, 0))[1])
    assert distance == pytest.approx(np.hypot(*(codes - position(page)).T).min(), abs=0.006)


def test_images_are_never_blank_while_playing(page):
    """In every frame of the animation, each image has content."""
    choose_ends(page)
    page.evaluate("""() => {
      globalThis.blank = globalThis.frames_seen = 0;
      globalThis.nearest = new Set();
      const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const opaque = (canvas) => {
        probe.clearRect(0, 0, 1, 1);
        probe.drawImage(canvas, 0, 0, 1, 1);
        return probe.getImageData(0, 0, 1, 1).data[3] === 255;
      };
      (function sample() {
        const { testImage, reconstruction, decoded, nearest } = explorer.panels[0];
        globalThis.blank += [testImage, reconstruction, decoded].some((one) => !opaque(one));
        globalThis.nearest.add(nearest);
        if (++globalThis.frames_seen < 1e4) requestAnimationFrame(sample);
      })();
    }""")
    page.locator("#play").click()
    wait_until(page, lambda: page.evaluate("nearest.size") >= 4)
    page.get_by_role("button", name="Pause").click()
    seen, blank = page.evaluate("[frames_seen, blank, frames_seen = 1e4]")[:2]
    assert seen > 5
    assert blank == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_have_a_contrast_of_3_to_1_with_the_page(page, scheme):
    page.emulate_media(color_scheme=scheme)
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    colors = [*map(to_hex, plotting.class_colors([*map(str, range(30))]).values())]
    colors += [*map(to_hex, plotting.class_colors([*map(str, range(10))]).values())]
    for color in colors:
        shown = page.evaluate("readable", color)
        assert contrast(*(re.findall(r"\d+", one)[:3] for one in (shown, back))) >= 3
    page.emulate_media(color_scheme="light")


def contrast(*colors):
    """Return the contrast of two colours (red, green, blue), as WCAG 2 defines it."""
    values = np.array(colors, float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (high + 0.05) / (low + 0.05)


def test_the_icons_of_the_legend_have_the_colours_of_the_points(page):
    js = """() => explorer.panels[0].data.buttons.map((button) => {
      const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      probe.drawImage(button.firstElementChild, 9, 9, 1, 1, 0, 0, 1, 1);
      return [...probe.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    })"""
    light = page.evaluate(js)
    for label, found in enumerate(light):
        shown = page.evaluate(f"readable(explorer.panels[0].data.classes[{label}].color)")
        assert [*map(int, re.findall(r"\d+", shown))] == found
    page.emulate_media(color_scheme="dark")
    wait_until(page, lambda: page.evaluate(js) != light)
    page.emulate_media(color_scheme="light")


def test_with_reduced_motion_the_animation_shows_still_images(page):
    choose_ends(page)
    page.emulate_media(reduced_motion="reduce")
    page.locator("#along").fill("0")
    page.evaluate("""() => {
      globalThis.places = new Set();
      (function sample() {
        globalThis.places.add(explorer.cursor.along);
        if (globalThis.places.size < 3) requestAnimationFrame(sample);
      })();
    }""")
    page.locator("#play").click()
    wait_until(page, lambda: page.evaluate("places.size") >= 3)
    page.get_by_role("button", name="Pause").click()
    page.emulate_media(reduced_motion="no-preference")
    shown = 16 * np.array(page.evaluate("[...places]"))
    np.testing.assert_array_equal(shown, np.round(shown))


def test_a_print_in_dark_mode_is_light_and_complete(page):
    light = pixels(page, 0, "pointsCanvas")
    page.emulate_media(color_scheme="dark")
    wait_until(page, lambda: not np.array_equal(pixels(page, 0, "pointsCanvas"), light))
    page.evaluate("""() => {
      const details = document.createElement("details");
      document.getElementById("tables").append(details);
      globalThis.printed = {};
      const { prototype } = CanvasRenderingContext2D, { clearRect } = prototype;
      let isCleared = false; // in a print, clearing a canvas also clears what is below it
      prototype.clearRect = function (...box) {
        isCleared ||= this.canvas === explorer.panels[0].overlay;
        clearRect.apply(this, box);
      };
      addEventListener("beforeprint", () => {
        const url = explorer.panels[0].pointsCanvas.toDataURL();
        globalThis.printed = { url, isCleared, open: details.open };
        prototype.clearRect = clearRect;
      });
    }""")
    dark = pixels(page, 0, "pointsCanvas")
    assert page.pdf()[:4] == b"%PDF"
    found = page.evaluate("printed")
    with Image.open(io.BytesIO(base64.b64decode(found["url"].split(",")[1]))) as image:
        printed = np.array(image)
    ink = printed[..., 3] == 255
    assert printed[ink][:, :3].min() < 60  # the circles are black
    assert found["open"]
    assert not found["isCleared"]
    wait_until(page, lambda: np.array_equal(pixels(page, 0, "pointsCanvas"), dark))
    assert not page.evaluate("document.querySelector('#tables details').open")
    page.evaluate("document.querySelector('#tables details').remove()")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for selector in (".stage", ".draws", ".strip"):
        js = "all => all.map((one) => getComputedStyle(one).breakInside)"
        assert set(page.locator(selector).evaluate_all(js)) == {"avoid"}
    page.emulate_media(media="screen")
