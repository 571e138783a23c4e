"""Turned images, by hand and in the training stream."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.loading.turns import Turn
from loader_words import stream_of, training_batches_of
from tiny_runs import make_record

HEIGHT, WIDTH = 3, 5
MARK = (1, 3)  # row and column of a pixel


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_everything_turns_with_the_image(mirrored, quarters):
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[MARK] = 255
    turn = Turn(WIDTH, HEIGHT, mirrored, quarters)
    turned = turn.image(image)
    assert turned.shape[:2] == turn.size
    ((row, column),) = np.argwhere(turned[..., 0])
    np.testing.assert_array_equal(turn.mask(image[..., 0]), turned[..., 0])
    edges = np.array([[MARK[1], MARK[0], MARK[1] + 1, MARK[0] + 1]], np.float32)
    assert turn.boxes(edges).tolist() == [[column, row, column + 1, row + 1]]
    middle = turn.points(edges[:, :2] + np.float32(0.5))
    assert middle.tolist() == [[column + 0.5, row + 0.5]]


def test_clockwise_and_upside_down():
    mark = np.array([[0.0, 0.0]], np.float32)  # the top left corner
    assert Turn(WIDTH, HEIGHT, quarters=1).points(mark).tolist() == [[HEIGHT, 0]]
    upside_down = Turn(WIDTH, HEIGHT, mirrored=True, quarters=2)
    assert upside_down.points(mark).tolist() == [[0, HEIGHT]]


def test_all_eight_orientations_are_drawn_alike():
    items = [make_record(Path(f"{i}.png"), 80, 60) for i in range(8)]
    options = {"short_sides": [60], "batch_size": 4, "seed": 3, "rotate90": True}
    for vertical_flip in (False, True):
        stream = stream_of(items, vertical_flip=vertical_flip, **options)
        batches = list(islice(stream, 400))
        drawn = [(d.flip, d.quarters) for batch in batches for d in batch]
        counts = [drawn.count((f, q)) for f in (False, True) for q in range(4)]
        assert min(counts) > 150 and sum(counts) == 1600
        # Images of a batch have similar shapes after their turns.
        assert all(len({d.quarters % 2 for d in batch}) == 1 for batch in batches)


def test_vertical_flips_without_turns():
    items = [make_record(Path(f"{i}.png"), 80, 60) for i in range(8)]
    options = {"short_sides": [60], "batch_size": 4, "seed": 3, "flip": False}
    stream = stream_of(items, vertical_flip=True, **options)
    drawn = [(d.flip, d.quarters) for b in islice(stream, 100) for d in b]
    assert set(drawn) == {(False, 0), (True, 2)}
    assert 150 < drawn.count((True, 2)) < 250


def test_turned_images_of_a_batch_need_no_padding(tmp_path):
    sizes = [(48, 24), (24, 48)] * 4
    items = []
    for i, (width, height) in enumerate(sizes):
        path = tmp_path / f"{i}.png"
        cv2.imwrite(str(path), np.full((height, width, 3), 9, np.uint8))
        items.append(make_record(path, width, height, [(2, 3, 10, 12)]))
    for mosaic in (0, 1):
        options = {"rotate90": True, "mosaic": mosaic, "batch_size": 4}
        shapes = {
            tuple(batch.images.pixels.shape[2:])
            for batch in islice(training_batches_of(items, **options), 12)
            if not batch.images.padded
        }
        assert shapes == {(24, 48), (48, 24)}
