"""Tests of the names of the classes on the plots of the explorer's page."""

from common.explore import page as pages

import numpy as np
import pytest
from explorer import state
from scipy.spatial import ConvexHull


@pytest.fixture(scope="module")
def content(runs):
    """Return the content of a page on which the class "left" is a ring around the class "right".

    The medians of both classes are therefore at the same place, within "right".
    """
    found = pages.content(runs[:2])
    left, right = (one["count"] for one in found["datasets"][0]["classes"])
    rng = np.random.default_rng(0)
    angles = np.linspace(0, 2 * np.pi, left, endpoint=False)
    ring = 3 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    codes = np.concatenate([ring, rng.normal(scale=0.3, size=(right, 2))])
    found["runs"][0]["means"] = pages.encode(codes)
    return found | {"home": {"x": 0, "y": 0, "half": 4}}


def names_at(page, i, zoom=1):
    """Return the names (label, left, top, half) on a plot with a view from -4 to 4, zoomed."""
    page.evaluate(
        """([i, zoom]) => {
          const panel = explorer.panels[i];
          panel.view = { x: 0, y: 0, half: 4 / zoom };
          panel.stale = true;
          requestDrawing();
          return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        }""",
        [i, zoom],
    )
    found = state(page, f"panels[{i}].names")
    return [[one[key] for key in ("label", "left", "top", "half")] for one in found]


def points_of(page, i):
    """Return the pixels (n, 2) of the points of a plot, and the label (n,) of each point."""
    js = """(i) => {
      const panel = explorer.panels[i], all = [...panel.data.labels.keys()];
      return all.map((image) => [...explorer.toScreen(panel, pointOf(panel, image)),
        panel.data.labels[image]]);
    }"""
    found = np.array(page.evaluate(js, i))
    return found[:, :2], found[:, 2]


@pytest.mark.parametrize("zoom", [0.5, 1, 1.3, 3])
def test_a_name_is_on_a_point_of_a_dense_part_of_its_class(page, zoom):
    names, (points, labels) = names_at(page, 0, zoom), points_of(page, 0)
    size = state(page, "panels[0].size")
    badges = page.evaluate(
        "[0, 1].map((k) => explorer.toScreen(explorer.panels[0], endOf(explorer.panels[0], k)))"
    )
    assert names
    for k, (label, left, top, half) in enumerate(names):
        place = np.array([left, top])
        distances = np.hypot(*(points - place).T)
        assert labels[distances.argmin()] == label
        assert distances.min() < 0.01  # on a point, so in the convex hull of the class
        assert labels[np.argsort(distances)[:3]].tolist() == [label] * 3  # a dense part
        hull = ConvexHull(points[labels == label])
        assert (hull.equations[:, :2] @ place + hull.equations[:, 2]).max() < 0.01
        assert half <= left <= size["width"] - half
        assert 7 <= top <= size["height"] - 7
        for x, y in badges:
            assert abs(x - left) >= half + 9 or abs(y - top) >= 9 + 7
        for _, other, at, width in names[:k]:
            assert abs(other - left) >= half + width or abs(at - top) >= 15


def test_names_without_room_are_listed_below_the_plot(page):
    note = page.locator(".panel").first.locator(".stage + .note")
    names, all_names = names_at(page, 0), {"left", "right"}
    shown = {sorted(all_names)[label] for label, *_ in names}
    assert {name for name in all_names if name in note.inner_text()} == all_names - shown
    names_at(page, 0, 1 / 200)  # all points in one cell
    assert any(name in note.inner_text() for name in all_names)


def test_names_are_above_the_points_and_the_line(page):
    page.locator("[name=kind][value=place]").check()
    page.evaluate("""() => {
      explorer.ends.place = [placeEnd({ x: -3.9, y: -3.9 }), placeEnd({ x: 3.9, y: 3.9 })];
      endsChanged();
    }""")
    assert len(names_at(page, 0)) == 2
    js = """() => {
      const panel = explorer.panels[0], calls = [], { prototype } = CanvasRenderingContext2D;
      const { fillText, stroke } = prototype;
      prototype.fillText = function (...all) { calls.push(all[0]); fillText.apply(this, all); };
      prototype.stroke = function () { calls.push("stroke"); stroke.call(this); };
      drawOverlay(panel);
      Object.assign(prototype, { fillText, stroke });
      return calls;
    }"""
    calls = page.evaluate(js)
    line = calls.index("stroke")
    assert calls.index("left") > line
    assert calls.index("right") > line
