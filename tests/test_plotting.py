"""common/plotting.py: orientation, order and pixels of what is drawn."""

import io

from common.compare.figure import Column, show_comparison
from common.data.sources import Dataset
from common.plotting import (
    class_colors,
    first_of_each_class,
    generate_random_clothes,
    latent_grid,
    latent_plane,
    save_figure,
    scale_each,
    show_grid,
    show_latent_space,
    show_reconstructions,
    strips,
    tile,
)

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread


def pixels(figure):
    """The panel of a drawn figure, (height, width) intensities in [0, 1]."""
    file = io.BytesIO()
    save_figure(figure, file)
    file.seek(0)
    image = imread(file)[..., :3].mean(axis=2)
    box = figure.axes[0].get_window_extent()
    height = image.shape[0]
    rows = slice(round(height - box.y1), round(height - box.y0))
    return image[rows, round(box.x0) : round(box.x1)]


def decode_coordinates(z):
    """Images whose left half shows V1 and whose right half shows V2, -4 to 4 as 0 to 1."""
    images = np.zeros((len(z), 28, 28, 1))
    images[:, :, :14] = (np.asarray(z)[:, 0, None, None, None] + 4) / 8
    images[:, :, 14:] = (np.asarray(z)[:, 1, None, None, None] + 4) / 8
    return images


def test_scale_each_stretches_every_image_to_its_own_range():
    images = np.array([[[0.2, 0.4], [0.3, 0.2]], [[0.5, 0.5], [0.5, 0.5]]])[..., np.newaxis]
    np.testing.assert_allclose(scale_each(images)[..., 0], [[[0, 1], [0.5, 0]], [[0, 0], [0, 0]]])


@pytest.mark.parametrize("channels", [1, 3])
def test_tile_fills_by_column_or_by_row_and_ends_in_white(channels):
    images = np.arange(5.0 * channels).reshape(5, 1, 1, channels)
    a, b, c, d, e, white = [*images[:, 0, 0].tolist(), [1.0] * channels]
    assert tile(images, columns=3, by_column=True).tolist() == [[a, c, e], [b, d, white]]
    assert tile(images, columns=3).tolist() == [[a, b, c], [d, e, white]]


def test_tile_keeps_images_upright_and_gutters_white():
    images = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]])[..., np.newaxis]
    assert tile(images, columns=2, gutter=1)[..., 0].tolist() == [
        [0.1, 0.2, 1, 0.5, 0.6],
        [0.3, 0.4, 1, 0.7, 0.8],
    ]
    assert tile(images, columns=1, gutter=1).shape == (5, 2, 1)


def test_latent_grid_runs_right_along_v1_then_down_along_v2():
    grid = latent_grid()
    axis = np.linspace(-4, 4, 16)
    assert grid.shape == (256, 2)
    np.testing.assert_array_equal(grid[:16], np.stack([axis, np.full(16, -4)], axis=1))
    np.testing.assert_array_equal(grid[::16], np.stack([np.full(16, -4), axis], axis=1))


def test_latent_plane_of_two_dimensions_is_the_latent_space():
    mean = np.random.default_rng(0).normal(size=(10, 2))
    points, lift, labels = latent_plane(mean)
    np.testing.assert_array_equal(points, mean)
    np.testing.assert_array_equal(lift(mean), mean)
    assert labels == ("V1", "V2")


def test_latent_plane_of_more_dimensions_is_that_of_the_principal_components():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(200, 5)) @ np.diag([1, 5, 0.5, 3, 0.1]) + 2
    points, lift, labels = latent_plane(mean)
    _, _, axes = np.linalg.svd(mean - mean.mean(axis=0), full_matrices=False)
    expected = (mean - mean.mean(axis=0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    # the plane's origin is the mean, and a lifted point projects back onto itself
    np.testing.assert_allclose(lift(np.zeros((1, 2)))[0], mean.mean(axis=0))
    lifted = lift(points)
    assert lifted.shape == (200, 5)
    np.testing.assert_allclose((lifted - mean.mean(axis=0)) @ axes[2:].T, 0, atol=1e-9)
    assert "principal component 1 of 5" in labels[0]
    assert "principal component 2 of 5" in labels[1]


def test_latent_plane_of_one_dimension_reads_the_grid_as_one_line():
    mean = np.random.default_rng(0).normal(size=(10, 1))
    points, lift, labels = latent_plane(mean)
    np.testing.assert_array_equal(points, np.hstack([mean, np.zeros((10, 1))]))
    np.testing.assert_allclose(lift(latent_grid()), np.linspace(-4, 4, 256)[:, np.newaxis])
    assert "only latent dimension" in labels[0]


def test_one_dimension_is_shown_as_a_strip_a_class_alphabetically_from_the_top():
    rng, names = np.random.default_rng(0), ("Mole", "Ant", "Zebra")
    mean, labels = rng.normal(size=(300, 1)), rng.integers(0, 3, 300)
    shown = show_latent_space(mean, labels, names, "t").axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(shown[:, 0], mean[:, 0])
    heights = {name: shown[labels == i, 1] for i, name in enumerate(names)}
    for upper, lower in (("Ant", "Mole"), ("Mole", "Zebra")):
        assert heights[upper].min() > heights[lower].max()
    assert all(len(np.unique(height)) == len(height) for height in heights.values())
    np.testing.assert_allclose(strips(np.zeros((300, 2)), labels, names, 2)[:, 1], 2 * shown[:, 1])


def test_the_grid_of_one_dimension_is_256_points_along_the_line_row_by_row():
    panel = pixels(show_grid(decode_v1, np.zeros((3, 1)), "t"))
    tiles = panel.reshape(16, 56, 16, 56)[:, 28, :, 28]
    np.testing.assert_allclose(tiles.ravel(), np.linspace(0, 1, 256), atol=0.005)


@pytest.mark.parametrize("latent_dim", [1, 2, 4])
def test_latent_space_of_means_that_are_all_the_same(latent_dim):
    mean = np.full((20, latent_dim), 0.3)
    figure = show_latent_space(mean, np.zeros(20, int), tuple("0123456789"), "t")
    assert np.isfinite(figure.axes[0].get_xlim()).all()


def test_grid_has_v1_left_to_right_and_v2_top_to_bottom_in_absolute_grey():
    panel = pixels(show_grid(decode_coordinates, np.zeros((3, 2)), "t"))
    tiles = panel.reshape(16, 56, 16, 56).transpose(0, 2, 1, 3)  # (row, column, 56, 56)
    axis = np.linspace(0, 1, 16)
    inner = slice(2, 26), slice(30, 54)  # the halves, clear of the panel's frame
    for k in range(16):
        np.testing.assert_allclose(tiles[:, k, inner[0], inner[0]], axis[k], atol=0.005)
        np.testing.assert_allclose(tiles[k, :, inner[0], inner[1]], axis[k], atol=0.005)


def test_grid_of_an_untrained_decoder_is_flat_grey():
    panel = pixels(show_grid(lambda z: np.full((len(z), 28, 28, 1), 0.5), np.zeros((3, 2)), "t"))
    assert np.ptp(panel[4:-4, 4:-4]) == 0
    assert panel[100, 100] == pytest.approx(0.5, abs=0.005)


def test_clothes_are_crisp_by_column_and_scaled_each():
    images = np.random.default_rng(0).uniform(0.4, 0.6, size=(64, 28, 28, 1))
    panel = pixels(generate_random_clothes(lambda z: images, np.zeros((64, 2)), "t"))
    blocks = panel.reshape(266, 3, 266, 3)
    assert np.ptp(blocks, axis=(1, 3)).max() == 0  # every image pixel is a block of 3 x 3
    shown = blocks[:, 0, :, 0]
    for index, (row, column) in {0: (0, 0), 1: (1, 0), 8: (0, 1), 63: (7, 7)}.items():
        place = shown[34 * row : 34 * row + 28, 34 * column : 34 * column + 28]
        image = images[index, ..., 0]
        np.testing.assert_allclose(
            place, (image - image.min()) / (image.max() - image.min()), atol=0.01
        )
    assert (shown[28:34] == 1).all()
    assert (shown[:, 28:34] == 1).all()


def test_first_of_each_class_with_a_class_that_is_short_and_one_that_is_empty():
    labels = np.array([3, 0, 0, 1, 0, 1])
    assert first_of_each_class(labels, 4, n=2).tolist() == [[1, 2], [3, 5], [-1, -1], [0, -1]]


RECONSTRUCTIONS = np.random.default_rng(1).uniform(0.3, 0.4, size=(200, 28, 28, 1))


def reconstructions(labels):
    """Images, and the panel's pixels at their own size.

    The one latent coordinate of image i is i, of which RECONSTRUCTIONS[i] is decoded.
    """
    images = np.random.default_rng(0).integers(150, 200, size=(len(labels), 28, 28, 1), dtype="u1")

    def decode(z):
        return RECONSTRUCTIONS[np.asarray(z)[:, 0].astype(int)]

    mean = np.arange(len(labels))[:, np.newaxis]
    names = tuple(f"topography {i}" for i in range(10))
    figure = show_reconstructions(decode, mean, images, labels, names, "t")
    panel = pixels(figure)
    blocks = panel.reshape(panel.shape[0] // 2, 2, panel.shape[1] // 2, 2)
    return figure, images, blocks


def place(label):
    """Where the panel has the images of a class: rows and columns."""
    top, left = 12 + label // 2 * (12 + 56 + 6), label % 2 * (224 + 6)
    return slice(top, top + 56), slice(left, left + 224)


def test_reconstructions_are_crisp_below_the_first_images_of_each_class_in_absolute_grey():
    labels = np.random.default_rng(2).permutation(np.repeat(np.arange(10), 20))
    _, images, blocks = reconstructions(labels)
    names = np.ones(blocks.shape[::2], bool)  # where names and white are
    for label in range(10):
        rows, columns = place(label)
        names[rows, columns] = False
        shown = blocks[rows, :, columns]
        assert np.ptp(shown, axis=(1, 3)).max() == 0  # every image pixel is a block of 2 x 2
        first = [i for i in range(200) if labels[i] == label][:8]
        upper = np.concatenate(images[first, ..., 0] / 255, axis=1)
        lower = np.concatenate(RECONSTRUCTIONS[first, ..., 0], axis=1)
        np.testing.assert_allclose(shown[:28, 0, :, 0], upper, atol=0.01)
        np.testing.assert_allclose(shown[28:, 0, :, 0], lower, atol=0.01)
    assert (blocks.transpose(0, 2, 1, 3)[names] == 1).mean() > 0.9


def test_reconstructions_name_each_class_above_its_images():
    figure, _, _ = reconstructions(np.repeat(np.arange(10), 8))
    figure.canvas.draw()
    *names, legend = figure.axes[0].texts
    assert [text.get_text() for text in names] == [f"topography {i}" for i in range(10)]
    panel = figure.axes[0].get_window_extent()
    for label, text in enumerate(names):
        rows, columns = place(label)
        box = text.get_window_extent()
        top, left = panel.y1 - 2 * rows.start, panel.x0 + 2 * columns.start
        assert top < box.y0
        assert box.y1 < top + 2 * (12 + 6)
        assert abs(box.x0 - left) < 3
    assert "test images" in legend.get_text()
    assert legend.get_window_extent().y0 > 0


def test_reconstructions_of_classes_with_few_images_leave_white():
    few = np.repeat(np.arange(10), [8, 3, 0, 1, 0, 0, 0, 0, 0, 0])
    figure, _, blocks = reconstructions(few)
    for label, n in enumerate(np.bincount(few, minlength=10)):
        rows, columns = place(label)
        shown = blocks[rows, :, columns]
        assert (shown[:, :, : 28 * n] < 1).all()
        assert (shown[:, :, 28 * n :] == 1).all()
    whole, _, _ = reconstructions(np.repeat(np.arange(10), 8))
    assert tuple(figure.get_size_inches()) == tuple(whole.get_size_inches())


def test_clothes_are_decoded_in_one_call():
    calls = []

    def decode(z):
        calls.append(len(z))
        return decode_coordinates(z)

    generate_random_clothes(decode, np.zeros((64, 2)), "t")
    show_grid(decode, np.zeros((3, 2)), "t")
    assert calls == [64, 256]


def test_latent_space_has_every_point_inside_in_its_class_colour():
    names = ("Zebra", "Ant", "Mole")
    rng = np.random.default_rng(0)
    mean, labels = rng.normal(size=(300, 2)) * [8, 1] + [30, -5], rng.integers(0, 3, 300)
    figure = show_latent_space(mean, labels, names, "a title")
    figure.canvas.draw()
    axes = figure.axes[0]
    points = axes.collections[0]
    np.testing.assert_allclose(points.get_offsets(), mean)
    colors = class_colors(names)
    expected = [to_rgb(colors[names[label]]) for label in labels]
    np.testing.assert_allclose(points.get_facecolors()[:, :3], expected)

    panel = axes.get_window_extent()
    assert panel.width == pytest.approx(panel.height)
    radius = np.sqrt(points.get_sizes()[0]) / 2 * figure.dpi / 72
    places = axes.transData.transform(mean)
    assert (places - radius > (panel.x0, panel.y0)).all()
    assert (places + radius < (panel.x1, panel.y1)).all()
    assert np.diff(axes.get_xlim()) == pytest.approx(np.diff(axes.get_ylim()))  # one scale

    legend = axes.get_legend()
    assert legend.get_title().get_text() == "class"
    assert [text.get_text() for text in legend.get_texts()] == ["Ant", "Mole", "Zebra"]
    handles = [handle.get_color() for handle in legend.legend_handles]
    assert handles == [colors[name] for name in ("Ant", "Mole", "Zebra")]
    box = legend.get_window_extent()
    assert panel.x1 <= box.x0
    assert box.x1 <= figure.bbox.x1
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("V1", "V2")
    assert "a title" in [text.get_text() for text in figure.texts]


def test_latent_space_of_more_dimensions_says_so():
    mean = np.random.default_rng(0).normal(size=(20, 4)) / 50
    figure = show_latent_space(mean, np.zeros(20, int), tuple("0123456789"), "t")
    save_figure(figure, io.BytesIO())
    axes = figure.axes[0]
    for label in (axes.xaxis.label, axes.yaxis.label):
        box = label.get_window_extent()
        assert min(box.x0, box.y0) > 0
    assert "principal component 1 of 4 latent dimensions" in axes.get_xlabel()


def decode_v1(z):
    """Images as grey as V1, -4 to 4 as 0 to 1."""
    grey = np.asarray(z)[:, :1, None, None] / 8 + 0.5
    return np.broadcast_to(grey, (len(z), 28, 28, 1))


def column(title, latent_dim=2, centre=0.0, class_names=tuple("0123456789")):
    rng = np.random.default_rng(latent_dim)
    images, labels = rng.integers(0, 256, (2000, 28, 28, 1), dtype="u1"), rng.integers(0, 10, 2000)
    return Column(
        title,
        about="Fashion-MNIST, epoch 50, seed 0",
        decode=decode_v1,
        random_vector=rng.normal(size=(64, latent_dim)),
        mean=rng.normal(size=(2000, latent_dim)) + centre,
        data=Dataset("name", "Title", images, labels, images, labels, class_names),
    )


def test_comparison_has_a_column_a_model_and_one_scale():
    columns = [column("near"), column("far away", centre=-9.0), column("of five", 5, centre=2.0)]
    figure = show_comparison(columns)
    rows = [figure.axes[i : i + 3] for i in (0, 3, 6, 9)]
    for space, shown in zip(rows[1], columns, strict=True):
        assert space.get_xlim() == rows[1][0].get_xlim()
        assert space.get_ylim() == rows[1][0].get_ylim()
        assert np.diff(space.get_xlim()) == pytest.approx(np.diff(space.get_ylim()))
        points = space.collections[0].get_offsets()
        inside = (np.abs(points - np.mean(space.get_xlim())) < np.diff(space.get_xlim()) / 2).all(1)
        assert inside.mean() > 0.99
        # where latent_plane puts the origin, by a regression of the plane on the latent vectors
        ones = np.ones((len(points), 1))
        coefficients = np.linalg.lstsq(np.hstack([ones, shown.mean]), points, rcond=None)[0]
        assert [patch.radius for patch in space.patches] == [1, 2, 3]
        for patch in space.patches:
            np.testing.assert_allclose(patch.center, coefficients[0], atol=1e-6)
    for pairs, shown in zip(rows[3], columns, strict=True):
        canvas = pairs.images[0].get_array()
        first, second = (list(shown.data.test_labels).index(label) for label in (0, 1))
        np.testing.assert_allclose(canvas[:28, :28], shown.data.test_images[first][..., 0] / 255)
        np.testing.assert_allclose(canvas[30:, 30:58], decode_v1(shown.mean)[second][..., 0])
    assert [axes.get_xlabel() for axes in rows[1]] == ["V1 right, V2 up"] * 2 + ["PC 1 right, 2 up"]
    assert rows[2][0].get_xlabel() == "V1 right, V2 down"
    assert rows[2][0].images[0].get_array()[0, -1] == pytest.approx(1)  # V1 = 4 at the right


TITLES = ["CVAE, latent-dim 2", "CVAE, latent-dim 10", "MMD-VAE, latent-dim 2, dtype float64"]


@pytest.mark.parametrize("count", range(2, 9))
@pytest.mark.parametrize("mixed", [False, True])
def test_nothing_in_a_comparison_is_cut_off_or_covered(count, mixed):
    names = [tuple("abcdefghij"), ("T-shirt/top", *"ABCDEFGH", "Ankle boot")]
    columns = [column(TITLES[i % 3], 1 + i, class_names=names[mixed * i % 2]) for i in range(count)]
    figure = show_comparison(columns)
    figure.canvas.draw()
    assert len(figure.legends) == (2 if mixed else 1)
    texts = [text.get_window_extent() for text in figure.texts]
    boxes = [*texts, *(legend.get_window_extent() for legend in figure.legends)]
    boxes += [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0, i
        assert box.x1 <= figure.bbox.x1, i
        assert box.y0 >= 0, i
        assert box.y1 <= figure.bbox.y1, i
        for j, other in enumerate(boxes[:i]):
            assert not box.overlaps(other), (i, j)
    smallest = min(text.get_size() for text in figure.texts) * 100 / 72 * 900 / (figure.bbox.x1 / 2)
    assert smallest > (11 if count < 6 else 8)  # pixels on a page 900 wide


SETTINGS = {
    "savefig.bbox": "tight", "savefig.dpi": 50, "savefig.transparent": True, "text.usetex": True,
    "figure.autolayout": True, "font.family": "Nowhere Sans", "axes.facecolor": "black",
    "image.cmap": "jet", "lines.markersize": 3, "figure.facecolor": "red", "image.origin": "lower",
}  # fmt: skip


def test_figures_are_the_same_bytes_whatever_the_users_settings(caplog):
    rng = np.random.default_rng(0)
    mean, images = rng.normal(size=(40, 2)), rng.integers(0, 256, (40, 28, 28, 1), dtype="u1")
    labels, names = np.arange(40) % 10, tuple("0123456789")

    def draw():
        for figure in (
            generate_random_clothes(decode_v1, rng.normal(size=(64, 2)) * 0, "t"),
            show_latent_space(mean, labels, names, "t"),
            show_grid(decode_v1, mean, "t"),
            show_reconstructions(decode_v1, mean, images, labels, names, "t"),
            show_comparison([column("a")]),
        ):
            file = io.BytesIO()
            save_figure(figure, file)
            yield file.getvalue()

    expected = list(draw())
    with matplotlib.rc_context():
        matplotlib.rcParams.update(SETTINGS)
        assert list(draw()) == expected
        assert {name: matplotlib.rcParams[name] for name in SETTINGS} == SETTINGS | {
            "font.family": ["Nowhere Sans"]
        }
    assert "findfont" not in caplog.text


@pytest.mark.parametrize(
    ("shape", "classes"), [((64, 64, 3), 47), ((28, 20, 1), 1), ((8, 8, 3), 3)]
)
def test_other_shapes_and_numbers_of_classes(shape, classes):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (100, *shape), dtype="u1")
    mean, labels = rng.normal(size=(100, 2)), rng.integers(0, classes, 100)
    names = tuple(f"class {i}" for i in range(classes))
    assert len(set(map(tuple, class_colors(names).values()))) == classes

    def decode(z):
        return rng.random((len(z), *shape))

    figures = [
        generate_random_clothes(decode, mean[:64], "t"),
        show_latent_space(mean, labels, names, "t"),
        show_grid(decode, mean, "t"),
        show_reconstructions(decode, mean, images, labels, names, "t"),
    ]
    for figure in figures:
        save_figure(figure, io.BytesIO())
    assert figures[0].axes[0].images[0].get_array().shape[:2] == (
        8 * shape[0] + 42,
        8 * shape[1] + 42,
    )
