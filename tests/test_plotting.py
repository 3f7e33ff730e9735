"""Tests of common/plotting.py, canvas.py, latent_plane.py and compare/figure.py."""

import io

from common import plotting
from common.canvas import tile
from common.compare.figure import Column, show_comparison
from common.data.sources import Dataset
from common.latent_plane import latent_grid, latent_plane, strips
from common.plotting import class_colors, draw_figures

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

DIGITS = tuple("0123456789")


def png(figure):
    file = io.BytesIO()
    plotting.save_figure(figure, file)
    return file.getvalue()


def pixels(figure, zoom):
    """Return the panel of a drawn figure as intensities in [0, 1]: (rows, zoom, columns, zoom)."""
    image = imread(io.BytesIO(png(figure)))[..., :3].mean(axis=2)
    box = figure.axes[0].get_window_extent()
    height = len(image)
    panel = image[round(height - box.y1) : round(height - box.y0), round(box.x0) : round(box.x1)]
    return panel.reshape(panel.shape[0] // zoom, zoom, panel.shape[1] // zoom, zoom)


def decode_ends(z):
    """Return images whose two halves show the first and the last coordinate from -4 to 4."""
    halves = np.repeat(np.asarray(z)[:, [0, -1]] / 8 + 0.5, 14, axis=1)
    return np.broadcast_to(halves[:, None, :, None], (len(z), 28, 28, 1))


# Canvases and the latent plane --------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_tile_fills_columns_or_rows_and_leaves_the_rest_white(channels):
    images = np.arange(5.0 * channels).reshape(5, 1, 1, channels)
    a, b, c, d, e, white = [*images[:, 0, 0].tolist(), [1.0] * channels]
    assert tile(images, columns=3, by_column=True).tolist() == [[a, c, e], [b, d, white]]
    assert tile(images, columns=3).tolist() == [[a, b, c], [d, e, white]]
    tall = np.linspace(0.1, 0.8, 8).reshape(2, 2, 2, 1)
    expected = np.hstack([tall[0, ..., 0], np.ones((2, 1)), tall[1, ..., 0]])
    np.testing.assert_array_equal(tile(tall, columns=2, gutter=1)[..., 0], expected)
    assert tile(tall, columns=1, gutter=1).shape == (5, 2, 1)


def test_latent_plane_of_five_dimensions_is_spanned_by_principal_components():
    mean = np.random.default_rng(0).normal(size=(200, 5)) @ np.diag([1, 5, 0.5, 3, 0.1]) + 2
    points, lift, labels = latent_plane(mean)
    centre = mean.mean(axis=0)
    _, _, axes = np.linalg.svd(mean - centre, full_matrices=False)
    np.testing.assert_allclose(np.abs(points), np.abs((mean - centre) @ axes[:2].T), atol=1e-9)
    np.testing.assert_allclose(lift(np.zeros((1, 2)))[0], centre)
    np.testing.assert_allclose((lift(points) - centre) @ axes[2:].T, 0, atol=1e-9)
    assert all("principal component" in label for label in labels)


# The figures of a run ---------------------------------------------------------


def test_latent_space_of_one_dimension_has_one_strip_per_class():
    rng, names = np.random.default_rng(0), ("Mole", "Ant", "Zebra")
    mean, labels = rng.normal(size=(300, 1)), rng.integers(0, 3, 300)
    (axes,) = plotting.show_latent_space(mean, labels, names, "t").axes
    assert "only latent dimension" in axes.get_xlabel()
    shown = axes.collections[0].get_offsets()
    np.testing.assert_allclose(shown[:, 0], mean[:, 0])
    moles, ants, zebras = (shown[labels == i, 1] for i in range(3))
    assert ants.min() > moles.max() > moles.min() > zebras.max()
    assert all(len(np.unique(height)) == len(height) for height in (moles, ants, zebras))
    np.testing.assert_allclose(strips(np.zeros((300, 2)), labels, names, 2)[:, 1], 2 * shown[:, 1])


def test_grid_of_one_dimension_shows_256_points_row_by_row():
    mean = np.zeros((3, 1))
    tiles = pixels(plotting.show_grid(decode_ends, mean, "t"), 56)[:, 28, :, 28]
    np.testing.assert_allclose(tiles.ravel(), np.linspace(0, 1, 256), atol=0.005)
    line = np.linspace(-4, 4, 256)[:, np.newaxis]
    np.testing.assert_allclose(latent_plane(mean)[1](latent_grid()), line)


def test_grid_has_v1_from_left_to_right_and_v2_from_top_to_bottom():
    figure = plotting.show_grid(lambda z: (15 + 225 * decode_ends(z)) / 255, np.zeros((3, 2)), "t")
    tiles = pixels(figure, 56)
    left, right = tiles[:, 2:26, :, 2:26], tiles[:, 2:26, :, 30:54]  # without the frame
    axis = np.arange(15, 255, 15) / 255  # neither black nor white
    np.testing.assert_allclose(left, np.broadcast_to(axis[:, None], left.shape), atol=0.005)
    down = np.broadcast_to(axis[:, None, None, None], right.shape)
    np.testing.assert_allclose(right, down, atol=0.005)


def test_random_clothes_fill_columns_and_are_scaled_individually():
    images = np.random.default_rng(0).uniform(0.4, 0.6, size=(64, 28, 28, 1))
    images[5] = 0.5  # becomes black
    blocks = pixels(plotting.generate_random_clothes(lambda z: images, np.zeros((64, 2)), "t"), 3)
    assert np.ptp(blocks, axis=(1, 3)).max() == 0  # every image pixel is a block of 3 x 3
    cells = np.pad(blocks[:, 0, :, 0], (0, 6), constant_values=1).reshape(8, 34, 8, 34)
    shown = cells[:, :28, :, :28].transpose(2, 0, 1, 3).reshape(images.shape)
    low, span = (f(images, axis=(1, 2), keepdims=True) for f in (np.min, np.ptp))
    np.testing.assert_allclose(shown, (images - low) / np.maximum(span, 0.1), atol=0.01)
    assert (cells[:, 28:] == 1).all()
    assert (cells[..., 28:] == 1).all()


@pytest.mark.parametrize("counts", [[20] * 10, [8, 3, 0, 1, 0, 0, 0, 0, 0, 0]])
def test_reconstructions_are_below_the_first_images_of_each_class(counts):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(10), counts))
    images = rng.integers(150, 200, size=(len(labels), 28, 28, 1), dtype="u1")
    preds, mean = rng.uniform(0.3, 0.4, size=images.shape), np.arange(len(labels))[:, None]
    names = tuple(f"topography {i}" for i in range(10))
    figure = plotting.show_reconstructions(
        lambda z: preds[z[:, 0]], mean, images, labels, names, "t"
    )
    blocks, shown = pixels(figure, 2), np.flatnonzero(counts)
    assert blocks.shape == (-(-len(shown) // 2) * (12 + 56 + 6) - 6, 2, 2 * 224 + 6, 2)
    *texts, legend = figure.axes[0].texts
    assert [text.get_text() for text in texts] == [names[label] for label in shown]
    panel = figure.axes[0].get_window_extent()
    covered = np.zeros((len(blocks), blocks.shape[2]), bool)
    for place, (label, text) in enumerate(zip(shown, texts, strict=True)):
        top, left = 12 + place // 2 * (12 + 56 + 6), place % 2 * (224 + 6)
        covered[top : top + 56, left : left + 224] = True
        shown = blocks[top : top + 56, :, left : left + 224]
        assert np.ptp(shown, axis=(1, 3)).max() == 0  # every image pixel is a block of 2 x 2
        pairs = np.ones((2, 8, 28, 28))  # places without an image are white
        first = np.flatnonzero(labels == label)[:8]
        pairs[:, : len(first)] = images[first, ..., 0] / 255, preds[first, ..., 0]
        pairs = pairs.transpose(0, 2, 1, 3).reshape(56, 224)
        np.testing.assert_allclose(shown[:, 0, :, 0], pairs, atol=0.01)
        box = text.get_window_extent()  # the name is above the images
        assert panel.y1 - 2 * top < box.y0
        assert box.y1 < panel.y1 - 2 * top + 2 * (12 + 6)
        assert abs(box.x0 - panel.x0 - 2 * left) < 3
    assert (blocks.transpose(0, 2, 1, 3)[~covered] == 1).mean() > 0.9
    assert "test images" in legend.get_text()
    assert legend.get_window_extent().y0 > 0


def test_latent_space_shows_all_points_in_the_colours_of_their_classes():
    names = ("Zebra", "Ant", "Mole")
    rng = np.random.default_rng(0)
    mean, labels = rng.normal(size=(300, 2)) * [8, 1] + [30, -5], rng.integers(0, 3, 300)
    figure = plotting.show_latent_space(mean, labels, names, "a title")
    figure.canvas.draw()
    (axes,) = figure.axes
    (points,) = axes.collections
    np.testing.assert_allclose(points.get_offsets(), mean)
    colors = class_colors(names)
    expected = [to_rgb(colors[names[label]]) for label in labels]
    np.testing.assert_allclose(points.get_facecolors()[:, :3], expected)

    panel = axes.get_window_extent()
    assert panel.width == pytest.approx(panel.height)
    places, radius = axes.transData.transform(mean), 3
    assert (places - radius > panel.min).all()
    assert (places + radius < panel.max).all()
    assert np.diff(axes.get_xlim()) == pytest.approx(np.diff(axes.get_ylim()))

    legend = axes.get_legend()
    entries = zip(legend.get_texts(), legend.legend_handles, strict=True)
    shown = [(text.get_text(), handle.get_color()) for text, handle in entries]
    assert shown == sorted(colors.items())
    assert panel.x1 <= legend.get_window_extent().x0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("V1", "V2")
    assert [text.get_text() for text in figure.texts] == ["a title"]


@pytest.mark.parametrize("latent_dim", [1, 2, 4])
@pytest.mark.parametrize("spread", [0, 0.02])
def test_axis_labels_are_inside_the_figure_also_for_equal_means(latent_dim, spread):
    mean = 0.3 + spread * np.random.default_rng(0).normal(size=(20, latent_dim))
    figure = plotting.show_latent_space(mean, np.zeros(20, int), DIGITS, "t")
    assert_nothing_is_cut_off_or_covered(figure)
    assert np.isfinite(figure.axes[0].get_xlim()).all()


# Comparisons, and properties of all figures -------------------------------------


def column(title, latent_dim=2, centre=0.0, names=DIGITS, shape=(28, 28, 1), decode=decode_ends):
    rng = np.random.default_rng(latent_dim)
    images = rng.integers(0, 256, (200 if max(shape) > 64 else 2000, *shape), "u1")
    labels = rng.integers(0, len(names), len(images)) if names else None
    data = Dataset("name", "Title", images, labels, images, labels, names)
    random_vector, mean = (rng.normal(size=(n, latent_dim)) for n in (64, len(images)))
    about = "Fashion-MNIST, epoch 50, seed 0"
    return Column(title, about, decode, random_vector, mean + centre, data)


def test_comparison_shows_all_models_at_one_scale():
    columns = [column("near"), column("far away", centre=-9.0), column("of five", 5, centre=2.0)]
    figure = show_comparison(columns)
    _, spaces, grids, pairs = (figure.axes[i : i + 3] for i in (0, 3, 6, 9))
    for space, shown in zip(spaces, columns, strict=True):
        xlim, ylim = limits = space.get_xlim(), space.get_ylim()
        assert limits == (spaces[0].get_xlim(), spaces[0].get_ylim())
        assert np.diff(xlim) == pytest.approx(np.diff(ylim))
        points = space.collections[0].get_offsets()
        low, high = np.transpose(limits)
        assert ((points > low) & (points < high)).all(axis=1).mean() > 0.99
        # The place of the origin, from a regression of the points on the latent vectors
        centre = np.linalg.lstsq(np.pad(shown.mean, ((0, 0), (1, 0)), constant_values=1), points)[0]
        assert [circle.radius for circle in space.patches] == [1, 2, 3]
        for circle in space.patches:
            np.testing.assert_allclose(circle.center, centre[0], atol=1e-6)
    for axes, shown in zip(pairs, columns, strict=True):
        canvas = axes.images[0].get_array()
        first, second = (list(shown.data.test_labels).index(label) for label in (0, 1))
        np.testing.assert_allclose(canvas[:28, :28], shown.data.test_images[first][..., 0] / 255)
        np.testing.assert_allclose(canvas[30:, 30:58], decode_ends(shown.mean)[second][..., 0])
    assert [axes.get_xlabel() for axes in spaces] == ["V1 right, V2 up"] * 2 + ["PC 1 right, 2 up"]
    assert grids[0].get_xlabel() == "V1 right, V2 down"
    corner = grids[0].images[0].get_array()[0, -28:]  # V1 = 4, V2 = -4
    np.testing.assert_allclose(corner, np.repeat([1, 0], 14))


@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_comparison_marks_the_gaussians_of_a_vamp_prior(latent_dim):
    normal, mixed = column("of N(0, I)", 2), column("of a mixture", latent_dim)
    centres = np.vstack([mixed.mean[:9], np.full(latent_dim, 30)])  # one far away
    figure = show_comparison([normal, mixed._replace(centres=centres)])
    circles, marks = figure.axes[2:4]
    assert len(circles.patches) == 3
    assert len(circles.collections) == 1 < len(marks.collections) == 2
    assert not marks.patches
    points, marks = (found.get_offsets() for found in marks.collections)
    assert len(marks) == 10
    np.testing.assert_allclose(marks[:9, 0], points[:9, 0])
    assert np.abs(marks[9]).max() < circles.get_xlim()[1]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "mixed"), [(2, 0), (3, 1), (6, 0), (8, 1)])
def test_nothing_in_a_comparison_is_cut_off_or_covered(count, mixed):
    names = [tuple("abcdefghij"), ("T-shirt/top", *"ABCDEFGH", "Ankle boot")]
    titles = ["CVAE, latent-dim 2", "CVAE, latent-dim 10", "MMD-VAE, latent-dim 2, dtype float64"]
    columns = [column(titles[i % 3], 1 + i, names=names[mixed * i % 2]) for i in range(count)]
    figure = show_comparison(columns)
    assert_nothing_is_cut_off_or_covered(figure)
    assert len(figure.legends) == 1 + mixed
    smallest = min(text.get_size() for text in figure.texts) * 100 / 72 * 900 / (figure.bbox.x1 / 2)
    assert smallest > (11 if count < 6 else 8)  # pixels on a page 900 wide


@pytest.mark.parametrize(("scale", "centre"), [(1e-4, 0), (1e-4, -500), (1e4, 0)])
def test_comparison_has_room_for_numbers_of_any_size(scale, centre):
    shown = column("a", centre=centre / scale)
    shown = shown._replace(mean=shown.mean * scale, centres=shown.mean[:5] * scale)
    assert_nothing_is_cut_off_or_covered(show_comparison([shown] * 2))


def assert_nothing_is_cut_off_or_covered(figure):
    figure.canvas.draw()
    boxes = [artist.get_window_extent() for artist in (*figure.texts, *figure.legends)]
    boxes += [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert (box.min >= 0).all(), i
        assert (box.max <= figure.bbox.max).all(), i
        assert not box.count_overlaps(boxes[:i]), i


SETTINGS = {
    "savefig.bbox": "tight", "savefig.dpi": 50, "savefig.transparent": True, "text.usetex": True,
    "figure.autolayout": True, "font.family": ["Nowhere Sans"], "axes.facecolor": "black",
    "image.cmap": "jet", "lines.markersize": 3, "figure.facecolor": "red", "image.origin": "lower",
}  # fmt: skip


def test_figures_do_not_depend_on_the_users_settings(caplog):
    _, _, decode, random_vector, mean, data, _ = shown = column("a")

    def draw():
        figures = draw_figures(decode, mean, random_vector, data, "t").values()
        return list(map(png, [*figures, show_comparison([shown])]))

    expected = draw()
    with matplotlib.rc_context(SETTINGS):
        assert draw() == expected
        assert {name: matplotlib.rcParams[name] for name in SETTINGS} == SETTINGS
    assert "findfont" not in caplog.text


@pytest.mark.parametrize("classes", [0, 1, 20, 47])
def test_figures_of_other_image_shapes_and_numbers_of_classes(classes):
    shape = (64, 64, 3) if classes % 2 else (28, 20, 1)
    rng, names = np.random.default_rng(0), tuple(f"class {i}" for i in range(classes))
    assert len(set(map(tuple, class_colors(names).values()))) == classes
    shown = column("a", names=names, shape=shape, decode=lambda z: rng.random((len(z), *shape)))
    figures = draw_figures(shown.decode, shown.mean, shown.random_vector, shown.data, "t")
    for figure in figures.values():
        height, width, _ = imread(io.BytesIO(png(figure))).shape
        assert 200 < min(height, width) <= max(height, width) < 2500
    figures["comparison"] = show_comparison([shown])
    canvas = figures["clothes"].axes[0].images[0].get_array()
    assert canvas.shape[:2] == (8 * shape[0] + 42, 8 * shape[1] + 42)
    legends = [figures["latentspace"].axes[0].get_legend(), *figures["comparison"].legends]
    texts = [[text.get_text() for text in one.get_texts()] for one in legends if one]
    assert [len(found) for found in texts] == [min(classes, 20)] * (2 if classes else 0)
    assert all(found[0] == "class 0" for found in texts)
    assert classes < 47 or "20 of 47" in legends[0].get_title().get_text()
    blocks = figures["reconstructions"].axes[0].texts[:-1]  # the last text is the legend
    assert [text.get_text() for text in blocks] == [f"class {i}" for i in range(min(classes, 10))]


@pytest.mark.parametrize("shape", [(8, 8, 1), (64, 16, 3), (8, 256, 1), (256, 8, 1), (28, 20, 1)])
def test_no_text_is_cut_off_for_unusual_image_shapes(shape):
    names = ("aquarium_fish", "american_bulldog", *(f"class {i} with a name" for i in range(8)))
    shown = column("a", names=names, shape=shape, decode=lambda z: np.zeros((len(z), *shape)))
    title = "InfoVAE (alpha = 0, lambda = 1000, kernel = imq), CIFAR-10, epoch 8"
    figures = draw_figures(shown.decode, shown.mean, shown.random_vector, shown.data, title)
    figures["pseudo-inputs"] = plotting.show_pseudo_inputs(np.zeros((3, *shape)), title)
    figures["comparison"] = show_comparison([shown] * 2)
    for figure in figures.values():
        figure.canvas.draw()  # places the texts
        artists = [*figure.texts, *figure.legends, *(t for axes in figure.axes for t in axes.texts)]
        artists += filter(None, [axes.get_legend() for axes in figure.axes])
        for box in (artist.get_window_extent() for artist in artists):
            assert (box.min >= 0).all()
            assert (box.max <= figure.bbox.max).all()
        assert figure.bbox.height < 8000
    axes = figures["reconstructions"].axes[0]
    rows = axes.images[0].get_array().shape[0]
    for text in axes.texts[:-1]:  # each name is on white, above its block
        (_, top), (_, bottom) = axes.transData.inverted().transform(text.get_window_extent())
        white = axes.images[0].get_array()[max(0, int(top) + 1) : int(bottom), 1]
        assert rows > bottom
        assert (white == 1).all(), text


def test_without_classes_points_have_one_colour_and_80_images_are_reconstructed():
    shown = column("a", names=(), shape=(8, 8, 3), decode=lambda z: np.zeros((len(z), 8, 8, 3)))
    figures = draw_figures(shown.decode, shown.mean, shown.random_vector, shown.data, "t")
    (points,) = figures["latentspace"].axes[0].collections
    assert len(np.unique(points.get_facecolors(), axis=0)) == 1
    canvas = figures["reconstructions"].axes[0].images[0].get_array()
    assert canvas.shape[:2] == (5 * 16 + 4 * 6, 2 * 64 + 6)
    for k in (0, 9, 30, 79):  # blocks of 8 images, two per row
        block, place = divmod(k, 8)
        top, left = block // 2 * 22, block % 2 * 70 + place * 8
        shown_at = canvas[top : top + 8, left : left + 8]
        np.testing.assert_allclose(shown_at, shown.data.test_images[k] / 255)
        np.testing.assert_array_equal(canvas[top + 8 : top + 16, left : left + 8], 0)


def test_classes_without_test_images_are_left_out_and_the_others_keep_their_colours():
    names, absent = tuple(f"class {i}" for i in range(12)), (0, 3, 10)
    shown = column("a", 1, names=names)
    labels = shown.data.test_labels
    labels[np.isin(labels, absent)] = 1
    present = [name for i, name in enumerate(names) if i not in absent]
    figures = draw_figures(shown.decode, shown.mean, shown.random_vector, shown.data, "t")
    assert [text.get_text() for text in figures["reconstructions"].axes[0].texts[:-1]] == present
    axes, colors = figures["latentspace"].axes[0], class_colors(names)
    for legend in (axes.get_legend(), *show_comparison([shown]).legends):
        assert [text.get_text() for text in legend.get_texts()] == present
        found = [handle.get_color() for handle in legend.legend_handles]
        assert found == [colors[name] for name in present]
    points = axes.collections[0]
    expected = [to_rgb(colors[names[label]]) for label in labels]
    np.testing.assert_allclose(points.get_facecolors()[:, :3], expected)
    heights = [points.get_offsets()[labels == names.index(name), 1].mean() for name in present]
    np.testing.assert_allclose(heights, np.arange(4, -5, -1), atol=1e-9)


@pytest.mark.parametrize("count", [1, 2])
def test_legends_with_long_names_fit_in_a_comparison(count):
    names = tuple(f"{i} WWWWWWWWWWWWWWWW" for i in range(12))
    assert_nothing_is_cut_off_or_covered(show_comparison([column("CVAE", names=names)] * count))
