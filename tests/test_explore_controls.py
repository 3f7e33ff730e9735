"""Tests of the controls of the explorer's page: touch, finding, undoing, the address and saving."""

import re

import numpy as np
import pytest
from explorer import (
    N,
    assert_shows,
    caption_of,
    choose_ends,
    open_page,
    pixels,
    plot,
    point_at,
    position,
    settle,
    state,
    view,
    wait_until,
)
from PIL import Image

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


def test_a_sideways_swipe_decodes_and_sets_no_end(phone):
    before, top = position(phone), phone.evaluate("scrollY")
    swipe(phone, 0, 100, 0)
    wait_until(phone, lambda: position(phone) != before)
    assert state(phone, "ends.next") == 0
    assert phone.evaluate("scrollY") == top


def test_a_tap_decodes_and_sets_an_end(phone):
    top, (x, y) = phone.evaluate("scrollY"), middle(phone, 0)
    phone.touchscreen.tap(x - 60, y + 60)
    on_plot = phone.evaluate("explorer.toScreen(explorer.panels[0], explorer.cursor)")
    box = plot(phone, 0).bounding_box()
    np.testing.assert_allclose(on_plot, (box["width"] / 2 - 60, box["height"] / 2 + 60), atol=2)
    wait_until(phone, lambda: state(phone, "ends.next") == 1)  # the click follows the tap
    assert phone.evaluate("scrollY") == top


def test_buttons_zoom_and_return_home(page):
    home = view(page, 0)
    point_at(page, 0, 0.3, 0.3)
    chosen = position(page)
    place = page.evaluate("explorer.toScreen(explorer.panels[0], explorer.cursor)")
    for name, factor in (("in", 0.5), ("out", 1), ("out", 2)):
        page.locator(".panel").nth(0).get_by_role("button", name=f"Zoom {name}").click()
        assert view(page, 1)[2] == pytest.approx(factor * home[2])
        assert position(page) == chosen  # The decoded place keeps its place on the plot
        on_plot = page.evaluate("explorer.toScreen(explorer.panels[0], explorer.cursor)")
        np.testing.assert_allclose(on_plot, place, atol=2)
    page.locator(".panel").nth(0).get_by_role("button", name="Home").click()
    np.testing.assert_allclose(view(page, 0), home)
    page.locator(".panel").nth(0).get_by_role("button", name="Zoom in").press("Enter")
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


def find_image(page, number):
    page.locator("#imageNumber").fill(str(number))
    page.locator("#findImage button").click()
    settle(page)


def test_a_test_image_is_found_by_its_number_in_each_model(page, runs):
    for number in (0, 37, N - 1):
        find_image(page, number)
        for i in (0, 1, 3):  # the runs on this data set
            mean = runs[i].encode(runs[i].data().test_images[[number]])
            assert_shows(pixels(page, i, "decoded"), runs[i].decode(mean)[0])
            assert_shows(pixels(page, i, "reconstruction"), runs[i].decode(mean)[0])
            assert re.match(rf"test image {number}\b", caption_of(page, i))
            left, top = page.evaluate(f"toScreen(panels[{i}], placeOf(panels[{i}]))")
            box = plot(page, i).bounding_box()
            assert 0 <= left <= box["width"]
            assert 0 <= top <= box["height"]
    label = runs[0].data().test_labels[37]
    find_image(page, 37)
    places = page.evaluate("panels.map((panel) => placeOf(panel))")
    page.locator(".legend").first.get_by_role("button", name=("left", "right")[label]).click()
    assert page.evaluate("panels.map((panel) => placeOf(panel))") == places  # although it is hidden
    find_image(page, 37)
    assert page.evaluate("panels[0].data.hidden.size") == 0  # its class is shown again
    find_image(page, N)
    assert page.locator("#imageNumber:invalid").count() == 1
    assert re.match(r"test image 37\b", caption_of(page, 0))
    page.locator("#imageData").select_option(index=1)
    find_image(page, 5)
    assert re.match(r"test image 5\b", caption_of(page, 2))


def test_typed_coordinates_are_decoded(page, runs):
    page.locator("#placeX").fill("2")
    page.locator("#placeY").fill("-1.5")
    page.locator("#findPlace button").click()
    settle(page)
    for i in (0, 1, 2):
        assert_shows(pixels(page, i, "decoded"), runs[i].decode([[2, -1.5]])[0])
    page.locator("#placeX").fill("1e9")
    page.locator("#findPlace button").click()
    assert page.locator("#placeX:invalid").count() == 1
    assert position(page) == [2, -1.5]


def test_a_clicked_draw_is_decoded_and_marked_on_the_plot(page):
    for i in (0, 3):
        drawn = page.locator(".draws canvas").nth(i)
        drawn.scroll_into_view_if_needed()
        box = drawn.bounding_box()
        drawn.click(position={"x": box["width"] * 2.5 / 8, "y": box["height"] * 1.5 / 8})
        settle(page)
        width, height = 28 + 2, 28 + 2
        image = pixels(page, i, "drawn")[height:, 2 * width :][:28, :28]
        np.testing.assert_array_equal(pixels(page, i, "decoded"), image)
        assert page.evaluate(f"placeOf(panels[{i}])") == state(page, f"panels[{i}].draws[10]")
        assert page.locator("#showDraws").is_checked()
        assert 0 <= plot(page, i).bounding_box()["y"] < 900


def test_the_nearest_image_is_named_at_the_mouse(page, runs):
    label = page.locator(".hover").first
    for x, y in ((0.2, 0.2), (0.8, 0.7)):
        point_at(page, 0, x, y)
        assert label.inner_text() == caption_of(page, 0).split(" (")[0].split(":")[0] + (
            ": " + caption_of(page, 0).split(": ")[1]
        )
        inner, outer = label.bounding_box(), plot(page, 0).bounding_box()
        assert inner["x"] >= outer["x"]
        assert inner["x"] + inner["width"] <= outer["x"] + outer["width"]
    page.locator("h1").hover()
    assert label.is_hidden()


def test_choices_of_ends_are_undone(page):
    js = "JSON.stringify([explorer.ends.kind, explorer.ends.next, ...['image', 'place'].map(kind =>"
    js += "explorer.ends[kind].map(end => [end.image, end.x, end.y]))])"
    states = [page.evaluate(js)]
    for x, y in ((0.2, 0.8), (0.8, 0.2), (0.5, 0.5)):
        point_at(page, 0, x, y, click=True)
        states.append(page.evaluate(js))
    page.locator("[name=kind][value=place]").check()
    point_at(page, 1, 0.4, 0.4, click=True)
    assert len({*states, page.evaluate(js)}) == 5
    page.locator("#undo").click()
    page.locator("[name=kind][value=image]").check()
    for expected in states[-2::-1]:
        page.locator("#undo").click()
        assert page.evaluate(js) == expected


def test_the_address_reproduces_the_view(chromium, file):
    describe = "JSON.stringify(describeState())"
    with open_page(chromium, file) as page:
        first = page.evaluate(describe)
        page.wait_for_timeout(600)
        assert page.evaluate("location.hash") == ""
        choose_ends(page)
        page.locator("#together").uncheck()
        page.locator(".panel").nth(1).get_by_role("button", name="Zoom in").click()
        page.locator("#newDraws").click()
        page.locator("#frames").fill("21")
        page.locator(".panel").nth(3).get_by_role("slider").nth(2).press("End")
        page.locator(".legend").first.get_by_role("button", name="left").click()
        page.locator("[name=kind][value=place]").check()
        point_at(page, 0, 0.4, 0.4, click=True)
        states = [page.evaluate(describe)]
        addresses = [settled_address(page)]
        page.locator("#along").fill("0.25")
        states.append(page.evaluate(describe))
        addresses.append(settled_address(page))
        for canvas in (0, 3):
            page.locator(".draws canvas").nth(canvas).click(position={"x": 30, "y": 30})
        find_image(page, 12)
        states.append(page.evaluate(describe))
        addresses.append(settled_address(page))
        images = [pixels(page, i, name) for i in range(5) for name in ("decoded", "strip", "drawn")]
    assert len(set(addresses)) == 3
    with open_page(chromium, file) as page:
        for address, expected in zip(addresses, states, strict=True):
            page.evaluate("hash => { location.hash = hash; }", address)
            wait_until(page, lambda expected=expected: page.evaluate(describe) == expected)
        settle(page)
        found = [pixels(page, i, name) for i in range(5) for name in ("decoded", "strip", "drawn")]
        for one, other in zip(images, found, strict=True):
            np.testing.assert_allclose(one, other, atol=1 / 255)
        address = "#view=1,2&place=a,b&image=0,999&draw=1.5&images=7,7&hidden=0,99&draws=&frames=a"
        for fragment, expected in ((addresses[2], states[2]), (address, first)):
            opened = page.context.new_page()
            opened.goto(file.as_uri() + fragment)
            assert opened.evaluate(describe) == expected


def settled_address(page):
    page.wait_for_timeout(1000)
    return page.evaluate("location.hash")
