import colorsys

import numpy as np
import pytest
from faster_rcnn.datasets.loading.colours import recolour


def noise(height=9, width=7):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def slow_recolour(pixels, factors, hue):
    """One after the other and pixel by pixel, in the order of the docstring."""
    brightness, contrast, saturation = factors
    image = pixels.astype(np.float64) * brightness
    image = (image - image.mean()) * contrast + image.mean()
    out = np.empty_like(image)
    for i, j in np.ndindex(image.shape[:2]):
        red, green, blue = image[i, j]
        luma = 0.299 * red + 0.587 * green + 0.114 * blue
        in_phase = 0.596 * red - 0.274 * green - 0.322 * blue
        quadrature = 0.211 * red - 0.523 * green + 0.312 * blue
        turn = saturation * np.exp(2j * np.pi * hue)
        chroma = complex(in_phase, quadrature) * turn
        out[i, j] = np.linalg.solve(
            [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]],
            [luma, chroma.real, chroma.imag],
        )
    return np.clip(out, 0, 255)


@pytest.mark.parametrize(
    ("factors", "hue"),
    [
        ((1, 1, 1), 0),
        ((1.3, 1, 1), 0),
        ((1, 0.6, 1), 0),
        ((1, 1, 1.7), 0),
        ((1, 1, 1), 0.2),
        ((0.8, 1.4, 0.5), -0.1),
        ((1.2, 1.2, 1.2), 0.5),
    ],
)
def test_as_in_a_loop(factors, hue):
    pixels = noise()
    found = recolour(pixels, factors, hue=hue)
    assert found.dtype == np.uint8 and found.shape == pixels.shape
    # Rounded, by arithmetic of 10 bits.
    expected = slow_recolour(pixels, factors, hue)
    np.testing.assert_allclose(found, expected, atol=0.8)


def test_factors_of_one_change_nothing():
    pixels = noise(64, 64)
    np.testing.assert_array_equal(recolour(pixels, (1, 1, 1)), pixels)
    np.testing.assert_array_equal(recolour(pixels, (1, 1, 1), hue=1.0), pixels)


def test_factors_by_hand():
    pixels = np.full((20, 40, 3), (110, 60, 10), np.uint8)
    pixels[2:12, 4:20] = 255
    dark = recolour(pixels, (0.5, 1, 1))
    assert dark[0, 0].tolist() == [55, 30, 5] and dark[5, 5].tolist() == [128] * 3
    bright = recolour(pixels, (3, 1, 1))
    assert bright[0, 0].tolist() == [255, 180, 30]
    assert bright[5, 5].tolist() == [255] * 3
    flat = recolour(pixels, (1, 0, 1))
    assert (flat == round(pixels.mean())).all()
    grey = recolour(pixels, (1, 1, 0))
    luma = 0.299 * 110 + 0.587 * 60 + 0.114 * 10
    assert grey[0, 0].tolist() == [round(luma)] * 3 and grey[5, 5].tolist() == [255] * 3


def test_hue_turns_the_colour_and_keeps_grey_and_luma():
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_array_equal(recolour(grey, (1, 1, 1), hue=0.3), grey)
    reddish = np.full((1, 1, 3), (150, 110, 110), np.uint8)
    luma = np.array([0.299, 0.587, 0.114])
    hues = []
    for turn in (0.0, 1 / 3, -1 / 3, 0.5):
        colour = recolour(reddish, (1, 1, 1), hue=turn)[0, 0]
        assert abs(colour @ luma - reddish[0, 0] @ luma) < 1
        hues.append(colorsys.rgb_to_hsv(*(colour / 255))[0])
    # Red becomes some blue, some green and some cyan, in one sense of turning.
    assert hues[0] == 0
    assert {round(3 * hue) % 3 for hue in hues[1:3]} == {1, 2}
    assert hues[3] == pytest.approx(0.5, abs=0.1)
