"""Tests of what the explorer's page does in a browser."""

import re

from common.explore import page as pages
from common.plotting import latent_plane

import numpy as np
import pytest
from explorer import (
    HOSTILE,
    assert_shows,
    caption_of,
    choose_ends,
    data_set,
    means,
    open_page,
    pixels,
    plot,
    point_at,
    position,
    settle,
    shown,
    state,
    trained,
    view,
    wait_until,
)
from PIL import Image


def test_decoding_equals_keras(page, runs):
    assert_decodes(page, runs)
    assert len(page.evaluate("explorer.timed(2, 2)")) == 2


def test_decoding_with_other_filters_equals_keras(chromium, tmp_path):
    networks = [((10, 12, 1), [6]), ((24, 32, 3), [5, 9, 6]), ((48, 32, 3), [7, 3, 8, 5])]
    runs = [trained("cvae", data_set(s), tmp_path, 3, filters=filters) for s, filters in networks]
    (tmp_path / "page.html").write_bytes(pages.to_html(pages.content(runs)))
    with open_page(chromium, tmp_path / "page.html") as page:
        assert_decodes(page, runs)
        assert ["--filters", "6", "5 9 6", "7 3 8 5"] in [
            row.split("\t") for row in page.locator("#tables tr").all_inner_texts()
        ]


def assert_decodes(page, runs):
    js = "([i, z]) => explorer.decode(i, z).then(image => [...image])"
    for i, run in enumerate(runs):
        z = np.random.default_rng(i).normal(size=(20, run.flags["latent_dim"])) * 2
        expected = run.decode(z)
        found = np.array([page.evaluate(js, [i, one]) for one in z.tolist()])
        assert np.ptp(expected, axis=0).max() > 0.1  # the images differ
        np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4)


def test_pointing_decodes_the_same_place_in_all_panels(page, runs):
    height = page.evaluate("document.documentElement.scrollHeight")
    point_at(page, 0, 0.7, 0.3)
    x, y = position(page)
    for i, run in enumerate(runs[:3]):
        assert_shows(pixels(page, i, "decoded"), run.decode([[x, y]])[0])
        assert f"({x:.2f}, {y:.2f})" in page.locator(".panel").nth(i).inner_text()
    assert_shows(pixels(page, 4, "decoded"), runs[4].decode([[x]])[0])
    point_at(page, 1, 0.6, 0.6)
    assert position(page) != [x, y]
    assert page.evaluate("document.documentElement.scrollHeight") == height  # nothing has moved


def test_the_nearest_test_image_has_its_class_and_reconstruction(page, runs):
    for i in (0, 2, 3):
        data, mean = runs[i].data(), means(runs[i])
        point_at(page, i, 0.55, 0.45)
        number = np.hypot(*(latent_plane(mean)[0] - position(page)).T).argmin()
        assert_shows(pixels(page, i, "testImage"), data.test_images[number] / 255, atol=1e-6)
        assert_shows(pixels(page, i, "reconstruction"), runs[i].decode(mean[[number]])[0])
        assert re.search(rf"\b{number}\b", caption_of(page, i))
        assert caption_of(page, i).endswith(shown(data.class_names[data.test_labels[number]]))


def test_in_one_dimension_the_height_does_not_count_as_distance(page, runs):
    point_at(page, 4, 0.5, 0.02)  # far above all points
    number, distance = re.search(r"(\d+)(?: \(([\d.]+))?", caption_of(page, 4)).groups()
    across = abs(means(runs[4])[int(number), 0] - position(page)[0])
    assert float(distance or 0) == pytest.approx(across, abs=0.006)


def test_the_legend_counts_classes_and_hides_them(page, runs):
    points = pixels(page, 0, "pointsCanvas")
    legend = page.locator(".legend").first
    button = legend.get_by_role("button", name="left")
    assert button.inner_text().split() == ["left", str(sum(runs[0].data().test_labels == 0))]
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    for x in (0.2, 0.4, 0.6, 0.8):
        point_at(page, 0, x, 0.5)
        assert state(page, "panels[0].data.labels[explorer.panels[0].nearest]") == 1
    legend.get_by_role("button", name="none").click()
    assert state(page, "panels[0].nearest") is None
    legend.get_by_role("button", name="all").click()
    assert button.get_attribute("aria-pressed") == "true"
    settle(page)
    page.wait_for_timeout(100)
    np.testing.assert_array_equal(pixels(page, 0, "pointsCanvas"), points)


def test_panels_zoom_and_move_together_and_alone(page):
    home = view(page, 0)
    point_at(page, 0, 0.75, 0.25)
    place = position(page)
    page.wait_for_timeout(500)  # directly after scrolling the page, the wheel does not zoom
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    wait_until(page, lambda: view(page, 0)[2] < home[2])
    page.keyboard.up("Control")
    np.testing.assert_allclose(view(page, 1), view(page, 0))
    point_at(page, 0, 0.75, 0.25)
    np.testing.assert_allclose(position(page), place, rtol=1e-6)
    page.locator("#together").uncheck()
    plot(page, 0).scroll_into_view_if_needed()
    box = plot(page, 0).bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 80, steps=5)
    page.mouse.up()
    moved, still = view(page, 0), view(page, 1)
    unit = state(page, "panels[0].size.width") / 2 / moved[2]
    np.testing.assert_allclose((moved - still)[:2] * unit, (-50, -20), atol=0.01)
    end = state(page, "ends.image[0].image")
    plot(page, 0).dblclick()
    np.testing.assert_allclose(view(page, 0), home)
    np.testing.assert_allclose(view(page, 1), still)
    assert state(page, "ends.image[0].image") == end  # a double click sets no end
    page.locator("#resetView").click()
    np.testing.assert_allclose(view(page, 1), home)


def test_the_keyboard_reaches_all_controls_and_moves_the_cursor(page):
    reached = set()
    js = "e => [e.tagName, e.id || e.className, getComputedStyle(e).outlineStyle]"
    for _ in range(120):  # more than once around, because the last test set the focus
        page.keyboard.press("Tab")
        tag, name, outline = page.evaluate(f"({js})(document.activeElement)")
        assert tag == "BODY" or outline != "none", name
        reached.add(name)
    controls = {"plot", "together", "resetView", "frames", "along", "play", "save", "newDraws"}
    assert reached >= controls | {"showDraws"}
    plot(page, 0).focus()
    (x, y), half = position(page), view(page, 0)[2]
    for key in ("ArrowRight", "ArrowUp", "Shift+ArrowUp"):
        page.keyboard.press(key)
    np.testing.assert_allclose(position(page), (x + half / 40, y + 6 * half / 40))
    assert state(page, "ends.next") == 0
    page.keyboard.press("Enter")
    assert state(page, "ends.next") == 1
    assert page.locator("#status").text_content().startswith("A: ")  # for screen readers
    page.keyboard.press("+")
    assert view(page, 0)[2] == pytest.approx(0.8 * half)
    page.keyboard.press("0")
    assert view(page, 0)[2] == pytest.approx(half)
    for _ in range(60):
        page.keyboard.press("Shift+ArrowRight")
    assert view(page, 0)[0] + view(page, 0)[2] > position(page)[0]  # the cursor stays visible


@pytest.mark.slow
def test_morphing_between_images_and_between_places(page, runs):
    def check(i, a, b, n):
        strip, width = pixels(page, i, "strip"), runs[i].data().image_shape[1]
        assert strip.shape[1] == n * width + (n - 1) * 2
        for k in (0, n // 2, n - 1):
            z = np.array([a]) + (np.array([b]) - a) * k / (n - 1)
            assert_shows(strip[:, k * (width + 2) :][:, :width], runs[i].decode(z)[0])

    numbers = choose_ends(page)
    assert numbers[0] != numbers[1]
    for i in (0, 1, 3):
        check(i, *means(runs[i])[numbers], 17)
    notes = page.locator(".strip .note").all_text_contents()
    assert [bool(note) for note in notes] == [False, False, True, False, True]
    page.locator("#frames").fill("33")
    settle(page)
    check(0, *means(runs[0])[numbers], 33)
    page.locator("#along").fill("0.25")
    settle(page)
    a, b = means(runs[1])[numbers]
    assert_shows(pixels(page, 1, "decoded"), runs[1].decode([0.75 * a + 0.25 * b])[0])
    hidden = [page.locator(".marker").nth(i).is_hidden() for i in range(3)]
    assert hidden == [False, False, True]  # the third data set is another one
    page.locator("#play").click()
    wait_until(page, lambda: abs(state(page, "cursor.along") - 0.25) > 0.1)
    page.get_by_role("button", name="Pause").click()
    point_at(page, 0, 0.5, 0.5)
    assert page.locator(".marker").first.is_hidden()
    film = page.locator(".film").first
    film.scroll_into_view_if_needed()
    film.click(position={"x": film.bounding_box()["width"] / 4, "y": 15})
    page.wait_for_timeout(100)
    assert state(page, "cursor.along") == 8 / 32  # a click also ends an animation
    with page.expect_download() as download:
        page.locator("#save").click()
    with Image.open(download.value.path()) as image:
        assert image.size == (4 * (33 * 28 + 32 * 2), 3 * (2 * 30 + 4 * 28))
    page.locator("[name=kind][value=place]").check()
    point_at(page, 0, 0.35, 0.35, click=True)
    a, b = (position(page, f"ends.place[{k}]") for k in (0, 1))
    assert a == position(page)
    check(1, a, b, 33)
    check(2, a, b, 33)


def test_the_animation_fills_the_strips_and_continues_under_the_mouse(page, runs):
    numbers = choose_ends(page)
    page.locator("#play").click()
    page.locator("#frames").fill("25")
    point_at(page, 0, 0.5, 0.5)
    settle(page)
    expected = runs[0].decode(means(runs[0])[numbers[1:]])[0]
    wait_until(page, lambda: state(page, "cursor.along") > 0)
    wait_until(page, lambda: abs(pixels(page, 0, "strip")[:, -28:] - expected).max() < 0.6 / 255)
    page.get_by_role("button", name="Pause").click()


def test_a_moving_cursor_does_not_block_other_images(page):
    js = """async () => {
      const { decode, dim } = explorer.panels[0], z = new Float64Array(dim);
      let decoded = 0;
      const repeat = (purpose) => decode(purpose, z, () => ++decoded < 50 && repeat(purpose));
      const other = (k) => new Promise((done) => decode(`other ${k}`, z, done));
      const others = [0, 1, 2, 3, 4].map(other);
      ["cursor", "nearest"].forEach((purpose) => repeat(purpose));
      await Promise.all(others);
      return decoded;
    }"""
    assert page.evaluate(js) < 20


def test_scrolling_the_page_and_the_right_button_leave_the_view(page):
    home = view(page, 0)
    point_at(page, 0, 0.5, 0.5)
    page.evaluate("document.activeElement.blur()")
    top = page.evaluate("scrollY")
    page.mouse.wheel(0, 40)
    wait_until(page, lambda: page.evaluate("scrollY") > top)
    np.testing.assert_array_equal(view(page, 0), home)
    plot(page, 0).focus()
    point_at(page, 0, 0.5, 0.5)
    page.evaluate("performance.now = () => 0; dispatchEvent(new Event('scroll'))")
    page.mouse.wheel(0, -10)
    page.mouse.down(button="right")
    point_at(page, 0, 0.7, 0.6)
    page.mouse.up(button="right")
    page.evaluate("delete performance.now")
    np.testing.assert_array_equal(view(page, 0), home)


def test_ends_of_two_data_sets_disable_the_morphing(page):
    point_at(page, 0, 0.3, 0.6, click=True)
    point_at(page, 2, 0.5, 0.5, click=True)  # another data set
    for name in ("along", "play", "save"):
        assert page.locator(f"#{name}").is_disabled()
    choose_ends(page)
    assert page.locator("#save").is_enabled()


def test_draws_are_decoded_and_follow_the_prior(page, runs, content):
    before = position(page, "panels[0].draws[0]")
    page.locator("#newDraws").click()
    settle(page)
    z = [position(page, f"panels[0].draws[{k}]") for k in (0, 63)]
    assert z[0] != before
    images, drawn = runs[0].decode(z), pixels(page, 0, "drawn")
    assert_shows(drawn[:28, :28], images[0])
    assert_shows(drawn[-28:, -28:], images[1])
    assert state(page, "panels[1].draws") == state(page, "panels[0].draws")  # the same noise
    points = np.array([[place["x"], place["y"]] for place in state(page, "panels[3].draws")])
    origin, axes = (np.array(content["runs"][3][name]) for name in ("origin", "axes"))
    centres, logvar = (each.numpy() for each in runs[3].mixture())
    marks = (centres - origin) @ axes[:2].T
    normal = (np.random.default_rng(0).normal(size=(64, 12)) - origin) @ axes[:2].T
    distances = (np.linalg.norm(z[:, None] - marks, axis=2).min(axis=1) for z in (points, normal))
    near, far = map(np.median, distances)  # from the nearest centre of the VampPrior
    assert near < 3 * np.exp(logvar / 2).max() < 1 < far


def test_many_dimensions_have_sliders_and_ends_keep_their_positions(page, runs, content):
    sliders, panel = page.locator(".panel").nth(3).get_by_role("slider"), content["runs"][3]
    assert sliders.count() == 8
    point_at(page, 3, 0.5, 0.5)
    sliders.nth(7).press("End")
    settle(page)
    steps = [*position(page), *[0] * 7, state(page, "panels[3].offsets[7]")]
    assert steps[-1] == pytest.approx(3 * panel["spread"][7], rel=0.01)
    z = np.array(panel["origin"]) + np.array(steps) @ np.array(panel["axes"])
    assert_shows(pixels(page, 3, "decoded"), runs[3].decode([z])[0])
    page.locator("[name=kind][value=place]").check()
    point_at(page, 3, 0.4, 0.4, click=True)
    before = page.evaluate("[...explorer.between(3, 0)]")
    sliders.nth(7).press("Home")
    assert page.evaluate("[...explorer.between(3, 0)]") == before


def test_the_table_has_one_column_per_run(page, runs, content):
    rows = [row.split("\t") for row in page.locator("#tables tr").all_inner_texts()]
    assert rows[0][1:] == [shown(panel["title"]) for panel in content["runs"]]
    assert ["--seed", *[str(run.flags["seed"]) for run in runs]] in rows


def test_names_with_markup_are_shown_as_text(page):
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("img, b").count() == 0
    legend = page.locator(".legend").nth(1)
    names = legend.locator("button span:first-of-type").all_text_contents()
    assert [*map(shown, names)] == [*map(shown, HOSTILE)]
    assert legend.locator("legend").text_content().startswith(HOSTILE[0])


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (800, "light"), (2560, "dark")])
def test_the_page_fits_phones_and_projectors(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(re.search(r"\d+", background)[0]) < 128) == (scheme == "dark")
    for i in range(5):
        box = plot(page, i).bounding_box()
        assert 250 < box["width"] <= width
        assert abs(box["width"] - box["height"]) < 60 or box["height"] >= 600


def test_a_browser_without_workers_shows_an_error(chromium, file):
    page = chromium.new_page()
    page.add_init_script("Worker = class { constructor() { throw new Error('no workers'); } };")
    page.goto(file.as_uri())
    assert "no workers" in page.locator("#error").inner_text()
    page.close()


def test_touch(chromium, file):
    with open_page(chromium, file, has_touch=True, viewport={"width": 400, "height": 800}) as page:
        plot(page, 0).scroll_into_view_if_needed()
        box, before, half = plot(page, 0).bounding_box(), position(page), view(page, 0)[2]
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.touchscreen.tap(x - 60, y - 60)
        settle(page)
        assert position(page) != before
        assert state(page, "ends.next") == 1
        send = page.context.new_cdp_session(page).send
        for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80)):
            fingers = [{"x": x + side * apart, "y": y, "id": k} for k, side in enumerate((-1, 1))]
            send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
        send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        assert view(page, 0)[2] == pytest.approx(half / 2, rel=0.05)
