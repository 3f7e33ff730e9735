"""Tests of the explorer's page: loading, drawing during a drag, and its content policy."""

import re

import numpy as np
import pytest
from explorer import open_page, pixels, plot, settle, view, wait_until

SIZES = [(1366, 650), (1400, 900), (1920, 1080), (390, 844)]
OBSERVE = """globalThis.shift = 0;
new PerformanceObserver(list => list.getEntries().forEach(entry => (shift += entry.value)))
  .observe({ type: "layout-shift", buffered: true });"""


@pytest.mark.parametrize("size", SIZES)
def test_the_layout_is_stable_while_the_page_loads(chromium, file, size):
    viewport = dict(zip(("width", "height"), size, strict=True))
    with chromium.new_context(viewport=viewport) as context:
        page = context.new_page()
        page.add_init_script(OBSERVE)
        page.goto(file.as_uri())
        settle(page)
        page.wait_for_timeout(200)
        assert page.evaluate("shift") < 0.05
        page.evaluate("document.querySelector('h1').style.paddingTop = '300px'")
        wait_until(page, lambda: page.evaluate("shift") > 0.05)  # the browser reports shifts


def test_dragging_moves_the_drawing_and_draws_once_at_the_end(page):
    page.evaluate("""() => {
      globalThis.drawn = 0;
      const original = drawPoints;
      drawPoints = (panel) => { drawn += 1; original(panel); };
      const timeout = setTimeout; // a slow computer does not end the drag
      setTimeout = (action, ms) => timeout(action, 20 * ms);
      globalThis.restore = () => { [drawPoints, setTimeout] = [original, timeout]; };
    }""")
    plot(page, 0).scroll_into_view_if_needed()
    before, box = view(page, 0), plot(page, 0).bounding_box()
    left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(left, top)
    page.mouse.down()
    page.mouse.move(left + 40, top - 30, steps=10)
    style = "explorer.panels[{}].pointsCanvas.style.transform"
    wait_until(page, lambda: page.evaluate(style.format(4)).startswith("translate(40"))
    for i in range(5):  # all plots move together
        numbers = re.findall(r"-?[\d.]+", page.evaluate(style.format(i)))
        assert np.array(numbers, float) == pytest.approx([40, -30, 1], abs=1), i
    assert page.evaluate("drawn") == 0
    page.mouse.up()
    wait_until(page, lambda: page.evaluate("drawn") == 5)
    assert [page.evaluate(style.format(i)) for i in range(5)] == [""] * 5
    assert view(page, 0)[2] == before[2]
    page.evaluate("restore()")
    moved = pixels(page, 0, "pointsCanvas")
    page.evaluate("drawPoints(explorer.panels[0])")
    np.testing.assert_array_equal(pixels(page, 0, "pointsCanvas"), moved)


def test_browsers_without_worker_src_start_workers_but_no_frames(chromium, file, tmp_path):
    old = tmp_path / "page.html"  # without worker-src, browsers use child-src instead
    old.write_bytes(file.read_bytes().replace(b"worker-src blob:; ", b""))
    with open_page(chromium, old) as page:
        assert page.evaluate("explorer.decode(0, [0, 0])")
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', file.read_text())[1]
    allowed = dict(part.split(" ", 1) for part in policy.split("; "))
    assert allowed["frame-src"] == allowed["default-src"] == "'none'"
    assert allowed["child-src"] == allowed["worker-src"] == "blob:"
    assert allowed["script-src"].startswith("'sha256-")
    assert " " not in allowed["script-src"]
    context = chromium.new_context()
    page = context.new_page()
    page.goto(file.as_uri())
    js = """() => new Promise((done) => {
      addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
      const frame = document.createElement("iframe");
      frame.src = URL.createObjectURL(new Blob(["text"], { type: "text/html" }));
      document.body.append(frame);
    })"""
    assert page.evaluate(js) == "frame-src"
    context.close()
