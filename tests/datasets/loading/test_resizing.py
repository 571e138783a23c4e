import numpy as np
import pytest
from faster_rcnn.datasets.loading.resizing import choose_cut, resize_image, resize_scale


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (60, 80, 0.5),
        (80, 60, 0.5),
        (30, 30, 1.0),
        (10, 20, 3.0),
        (60, 200, 0.5),  # the short side alone would make 100 px of it
        (200, 60, 0.5),
        (60, 240, 100 / 240),
    ],
)
def test_resize_scale(height, width, expected):
    assert resize_scale(height, width, 30, 100) == pytest.approx(expected)


def test_long_side_holds_after_rounding():
    # 375 x 500 at 600 is 800 wide; 333 x 556 is 1001.8 wide and has to give way.
    assert resize_scale(375, 500, 600, 1000) == 600 / 375
    assert resize_scale(333, 556, 600, 1000) == 1000 / 556
    # 1000.3 rounds to 1000: no reason to leave the target of the short side.
    assert resize_scale(601, 1002, 600, 1000) == 600 / 601


def slow_resize(pixels, scale):
    """Bilinear at half-pixel centres, pixel by pixel; beyond the edge, the edge."""
    height, width = pixels.shape[:2]
    out = np.zeros((round(scale * height), round(scale * width), 3))
    for i, j in np.ndindex(out.shape[:2]):
        y = np.clip((i + 0.5) / scale - 0.5, 0, height - 1)
        x = np.clip((j + 0.5) / scale - 0.5, 0, width - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x - left
        upper = pixels[top, left] * (1 - dx) + pixels[top, right] * dx
        lower = pixels[bottom, left] * (1 - dx) + pixels[bottom, right] * dx
        out[i, j] = upper * (1 - dy) + lower * dy
    return out


@pytest.mark.parametrize("scale", [1.6, 0.37, 600 / 333, 1])
def test_resize_as_in_a_loop(scale):
    pixels = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    expected = slow_resize(pixels.astype(np.float64), scale)
    floats = resize_image(pixels.astype(np.float32), scale)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, expected, atol=2e-3)
    bytes_ = resize_image(pixels, scale)
    assert bytes_.dtype == np.uint8
    np.testing.assert_allclose(bytes_, expected, atol=0.502)  # rounded once
    assert abs((bytes_ - expected).mean()) < 0.02


def test_cut_by_hand():
    # 100 x 60 at scale 2 is 200 x 120, of which a window of 90 x 50 is wanted: 45 x 25.
    cut = choose_cut(60, 100, scale=2, window=(50, 90), place=(0.5, 0.99))
    assert (cut.x, cut.y, cut.width, cut.height) == (28, 35, 45, 25)
    assert cut.shown == (50, 90) and cut.scale == 2
    # All of it, where it is smaller than the window.
    cut = choose_cut(60, 100, scale=0.5, window=(50, 90), place=(0.9, 0.9))
    assert (cut.x, cut.y, cut.width, cut.height) == (0, 0, 100, 60)
    assert cut.shown == (30, 50)


def test_cut_is_that_of_the_resized_image():
    # At a whole factor the cut's own samples are those of the image resized whole,
    # apart from its rim, beyond which it does not see.
    pixels = np.random.default_rng(0).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    cut = choose_cut(23, 31, scale=3, window=(30, 40), place=(0.4, 0.7))
    part = cut.resize(pixels)
    assert part.shape == (*cut.shown, 3) == (30, 40, 3)
    whole = resize_image(pixels, 3)[3 * cut.y :, 3 * cut.x :][:30, :40]
    np.testing.assert_array_equal(part[2:-2, 2:-2], whole[2:-2, 2:-2])


def test_cut_ends_within_a_pixel():
    # 10 / 3 pixels are wanted: 4 are cut out, and 10 of their 12 columns shown.
    cut = choose_cut(8, 8, scale=3, window=(10, 10), place=(0, 0))
    assert (cut.width, cut.height, cut.shown) == (4, 4, (10, 10))
    moved = cut.move(np.array([(0, 0, 4, 2), (1, 1, 3, 3)], np.float32), offset=0)
    assert moved.tolist() == [[0, 0, 10, 6], [3, 3, 9, 9]]
    edges = np.array([(0, 0, 4, 4), (3.6, 0, 4, 4), (1, 1, 3, 3)], np.float32)
    shares = cut.visible_share(edges)
    np.testing.assert_allclose(shares, [(3.5 / 4) ** 2, 0, 1], rtol=1e-6)


def test_visible_share_by_hand():
    cut = choose_cut(60, 100, scale=2, window=(50, 90), place=(0, 0))  # 45 x 25
    edges = [(0, 0, 90, 25), (40, 20, 50, 30), (50, 0, 60, 10), (1, 1, 9, 9)]
    shares = cut.visible_share(np.array(edges, np.float32))
    np.testing.assert_allclose(shares, [0.5, 0.25, 0, 1])
    assert cut.visible_share(np.zeros((0, 4), np.float32)).shape == (0,)
