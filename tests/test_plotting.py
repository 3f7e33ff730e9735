"""common/plotting.py: orientation, order and pixels of what is drawn."""

import io

from common.plotting import (
    COLORS,
    generate_random_clothes,
    latent_grid,
    latent_plane,
    scale_each,
    show_grid,
    show_latent_space,
    tile,
)

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread


def pixels(figure):
    """The panel of a drawn figure, (side, side) intensities in [0, 1]."""
    file = io.BytesIO()
    figure.savefig(file)
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
    images = np.array([[[0.2, 0.4], [0.3, 0.2]], [[0.5, 0.5], [0.5, 0.5]]])
    np.testing.assert_allclose(scale_each(images), [[[0, 1], [0.5, 0]], [[0, 0], [0, 0]]])


def test_tile_fills_by_column_or_by_row():
    images = np.arange(6.0).reshape(6, 1, 1)
    assert tile(images, columns=3, by_column=True).tolist() == [[0, 2, 4], [1, 3, 5]]
    assert tile(images, columns=3).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_tile_keeps_images_upright_and_gutters_white():
    images = np.array([[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]])
    assert tile(images, columns=2, gutter=1).tolist() == [
        [0.1, 0.2, 1, 0.5, 0.6],
        [0.3, 0.4, 1, 0.7, 0.8],
    ]
    assert tile(images, columns=1, gutter=1).shape == (5, 2)


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


def test_latent_plane_of_one_dimension_has_an_empty_second_axis():
    mean = np.random.default_rng(0).normal(size=(10, 1))
    points, lift, labels = latent_plane(mean)
    np.testing.assert_array_equal(points, np.hstack([mean, np.zeros((10, 1))]))
    np.testing.assert_array_equal(lift(points), mean)
    assert "only latent dimension" in labels[0]


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
    colors = dict(zip(["Ant", "Mole", "Zebra"], COLORS, strict=False))
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
    figure.savefig(io.BytesIO())
    axes = figure.axes[0]
    for label in (axes.xaxis.label, axes.yaxis.label):
        box = label.get_window_extent()
        assert min(box.x0, box.y0) > 0
    assert "principal component 1 of 4 latent dimensions" in axes.get_xlabel()
