"""Tests of the controls of the explorer's page: touch, finding, undoing, the address and saving."""

import numpy as np
import pytest
from PIL import Image
from test_explore import (  # noqa: F401 - fixtures
    choose_ends,
    chromium,
    content,
    file,
    open_page,
    opened,
    page,
    pixels,
    plot,
    point_at,
    position,
    runs,
    settle,
    state,
    view,
    wait_until,
)

# ruff: noqa: F811

PHONE = {"has_touch": True, "is_mobile": True, "viewport": {"width": 390, "height": 844}}


@pytest.fixture
def phone(chromium, file):
    with open_page(chromium, file, **PHONE) as page:
        plot(page, 0).scroll_into_view_if_needed()
        yield page


def middle(page, i):
    box = plot(page, i).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def swipe(page, i, across, down):
    """Swipe with one finger over a plot, from its middle."""
    (x, y), send = middle(page, i), page.context.new_cdp_session(page).send
    for step in range(11):
        point = {"x": x + across * step / 10, "y": y + down * step / 10}
        kind = "touchMove" if step else "touchStart"
        send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
        page.wait_for_timeout(20)
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_swipe_on_a_plot_scrolls_the_page(phone):
    before, views, top = position(phone), view(phone, 0), phone.evaluate("scrollY")
    swipe(phone, 0, 0, -250)
    wait_until(phone, lambda: phone.evaluate("scrollY") > top + 150)
    assert position(phone) == before
    assert state(phone, "ends.next") == 0
    np.testing.assert_array_equal(view(phone, 0), views)


def test_a_sideways_swipe_and_a_tap_decode(phone):
    before, top = position(phone), phone.evaluate("scrollY")
    swipe(phone, 0, 100, 0)
    assert position(phone) != before
    assert state(phone, "ends.next") == 0  # only taps set ends
    x, y = middle(phone, 0)
    phone.touchscreen.tap(x - 60, y + 60)
    on_plot = phone.evaluate("explorer.toScreen(explorer.panels[0], explorer.cursor)")
    box = plot(phone, 0).bounding_box()
    np.testing.assert_allclose(on_plot, (box["width"] / 2 - 60, box["height"] / 2 + 60), atol=2)
    assert state(phone, "ends.next") == 1
    assert phone.evaluate("scrollY") == top


def test_buttons_zoom_and_return_home(page):
    home = view(page, 0)
    point_at(page, 0, 0.3, 0.3)
    chosen = position(page)
    for name, factor in (("in", 0.5), ("out", 1), ("out", 2)):
        plot(page, 0).get_by_role("button", name=f"Zoom {name}").click()
        np.testing.assert_allclose(view(page, 1), (*home[:2], factor * home[2]))
    plot(page, 0).get_by_role("button", name="Home").click()
    np.testing.assert_allclose(view(page, 0), home)
    plot(page, 0).get_by_role("button", name="Zoom in").press("Enter")
    assert view(page, 0)[2] == pytest.approx(home[2] / 2)
    assert position(page) == chosen  # the pointer on the buttons does not decode
    assert state(page, "ends.next") == 0


def test_strips_on_a_phone_scroll_together_and_have_large_images(phone):
    strips = phone.locator("#strips")
    strips.scroll_into_view_if_needed()
    boxes = [box.bounding_box() for box in phone.locator(".film").all()]
    assert all(box["width"] / 17 > 44 for box in boxes)
    strips.evaluate("element => element.scrollBy(150, 0)")
    after = [box.bounding_box() for box in phone.locator(".film").all()]
    assert [one["x"] - two["x"] for one, two in zip(boxes, after, strict=True)] == [150] * 5
    assert phone.locator(".strip h3").first.bounding_box()["x"] == boxes[0]["x"]
    assert phone.evaluate("document.documentElement.scrollWidth") == 390


def test_the_saved_strips_have_large_images_and_say_what_they_show(page, runs):
    page.locator("#frames").fill("9")
    numbers = choose_ends(page)
    settle(page)
    page.evaluate("""() => {
      globalThis.texts = [];
      const original = CanvasRenderingContext2D.prototype.fillText;
      CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        if (this.canvas.width > 1000) texts.push(text);
        original.call(this, text, ...place);
      };
      globalThis.restore = () => { CanvasRenderingContext2D.prototype.fillText = original; };
    }""")
    with page.expect_download() as download:
        page.locator("#save").click()
    page.evaluate("restore()")
    with Image.open(download.value.path()) as image:
        saved = np.array(image)[..., :3] / 255
    strip = pixels(page, 0, "strip").repeat(4, 0).repeat(4, 1)  # 28 pixels become 112
    for left in (0, 8 * 120):  # the first and the last image
        np.testing.assert_allclose(saved[60:172, left:][:, :112], strip[:, left:][:, :112])
    text = page.evaluate("texts.slice(0, 2).join(' ')")
    for part in (f"A: test image {numbers[0]}", f"B: test image {numbers[1]}"):
        assert part in text
    for part in (state(page, "panels[0].title"), "dots", f"seed {runs[0].flags['seed']}"):
        assert part in text
