from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from faster_rcnn.datasets.loading.training_stream import shape_groups
from loader_words import stream_of
from tiny_runs import make_record

SHAPES = [(80, 60), (60, 80), (100, 100), (150, 50)]  # width, height

# Image, short side and flip.
PINNED = [
    [(4, 40, True), (3, 40, False)],
    [(1, 60, False), (0, 60, True)],
    [(4, 40, False), (0, 40, False)],
    [(2, 60, False), (2, 60, False)],
]


def records(count, shapes=1):
    return [
        make_record(Path(f"{i}.png"), *SHAPES[(i * i) % 7 % shapes])
        for i in range(count)
    ]


def stream(items, *, batches, **options):
    defaults = {
        "batch_size": 2,
        "short_sides": [60],
        "flip": True,
        "colour_jitter": 0,
        "seed": 5,
    }
    return list(islice(stream_of(items, **(defaults | options)), batches))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("shapes", [1, 2, 4])
def test_every_image_once_per_epoch(batch_size, shapes):
    items = records(11, shapes)
    drawn = stream(items, batches=60, batch_size=batch_size)
    shape_of = [(item.width, item.height) for item in items]
    of_shape = {shape: [] for shape in shape_of}
    for batch in drawn:
        assert len(batch) == batch_size
        assert len({shape_of[draw.image] for draw in batch}) == 1
        of_shape[shape_of[batch[0].image]] += [draw.image for draw in batch]
    for shape, images in of_shape.items():
        all_of_shape = [i for i, other in enumerate(shape_of) if other == shape]
        size = len(all_of_shape)
        epochs = len(images) // size
        assert epochs >= 3
        for epoch in range(epochs):
            assert sorted(images[epoch * size :][:size]) == all_of_shape
        # What is left over belongs to the next epoch: nothing is there twice.
        assert len(set(images[epochs * size :])) == len(images) - epochs * size
    # Shapes advance together: no image is ahead by more than a batch's rest.
    counts = [sum(images.count(i) for images in of_shape.values()) for i in range(11)]
    assert max(counts) - min(counts) <= batch_size


def test_orders_differ_from_epoch_to_epoch():
    images = [d.image for b in stream(records(8), batches=12) for d in b]
    first, second, third = images[:8], images[8:16], images[16:24]
    assert first != second and second != third and first != list(range(8))


def test_an_image_without_partners_is_drawn_with_itself():
    (batch,) = stream(records(1), batches=1, batch_size=3)
    assert [draw.image for draw in batch] == [0, 0, 0]


def test_same_seed_same_stream():
    items = records(9, 3)
    options = {"short_sides": [40, 60, 80], "colour_jitter": 0.3}
    first = stream(items, batches=30, **options)
    assert first == stream(items, batches=30, **options)
    assert first != stream(items, batches=30, seed=6, **options)


def test_scale_flip_and_colour_are_drawn():
    drawn = stream(records(5), batches=200, short_sides=[40, 60, 80], colour_jitter=0.3)
    for batch in drawn:
        assert len({draw.short_side for draw in batch}) == 1
    sides = [batch[0].short_side for batch in drawn]
    assert all(40 < sides.count(side) < 95 for side in (40, 60, 80))
    draws = [draw for batch in drawn for draw in batch]
    assert 150 < sum(draw.flip for draw in draws) < 250
    factors = [factor for draw in draws for factor in draw.colour]
    assert 0.7 <= min(factors) < 0.75 and 1.25 < max(factors) <= 1.3
    assert len(set(factors)) == len(factors)


def test_nothing_is_drawn_that_is_switched_off():
    draws = [d for b in stream(records(4), batches=50, flip=False) for d in b]
    assert not any(draw.flip for draw in draws)
    assert {draw.colour for draw in draws} == {None}
    assert {draw.short_side for draw in draws} == {60}


def test_shapes_that_differ_much_are_not_mixed():
    items = [make_record(Path("a.png"), 500, 375), make_record(Path("b.png"), 500, 333)]
    (batch,) = stream(items, batches=1)
    assert {draw.image for draw in batch} == {0, 1}  # 4:3 and 3:2 go together
    items[1] = make_record(Path("b.png"), 375, 500)
    for batch in stream(items, batches=6):
        assert len({draw.image for draw in batch}) == 1


def test_the_stream_of_a_seed_stays_what_it_was():
    """Runs that were made before a change can be made again after it."""
    shapes = [(80, 60), (80, 60), (60, 80), (80, 60), (80, 60)]
    items = [make_record(Path(f"{i}.png"), *shape) for i, shape in enumerate(shapes)]
    drawn = stream(items, batches=4, short_sides=[40, 60])
    assert [[draw[:3] for draw in batch] for batch in drawn] == PINNED
    varied = {"hue_jitter": 0.1, "scale_jitter": (0.5, 2.0), "mosaic": 0.5}
    other = stream(items, batches=4, short_sides=[40, 60], **varied)
    assert [[draw[:3] for draw in batch] for batch in other] == PINNED


def test_hue_zoom_and_place_are_drawn():
    options = {"hue_jitter": 0.1, "scale_jitter": (0.5, 2.0)}
    draws = [d for b in stream(records(5), batches=200, **options) for d in b]
    for values, low, high in (
        ([draw.hue for draw in draws], -0.1, 0.1),
        ([draw.zoom for draw in draws], 0.5, 2.0),
        ([draw.place[0] for draw in draws], 0.0, 1.0),
        ([draw.place[1] for draw in draws], 0.0, 1.0),
    ):
        margin = (high - low) / 20
        assert low <= min(values) < low + margin
        assert high - margin < max(values) <= high
        assert len(set(values)) == len(values)
    assert all(not draw.partners and draw.colour is None for draw in draws)


def test_mosaics_are_drawn():
    items = records(11)
    options = {"mosaic": 0.25, "colour_jitter": 0.3, "scale_jitter": (0.8, 1.0)}
    drawn = stream(items, batches=300, **options)
    firsts = [draw for batch in drawn for draw in batch if draw.partners]
    assert 110 < len(firsts) < 190
    parts = [part for first in firsts for part in (first, *first.partners)]
    assert len(parts) == 4 * len(firsts)
    assert {part.image for part in parts} == set(range(11))
    assert {part.flip for part in parts} == {False, True}
    assert all(0.4 <= part.zoom <= 0.5 for part in parts)
    assert len({part.place for part in parts}) == len(parts)
    assert len({part.colour for part in parts}) == len(parts)
    assert not any(part.partners for first in firsts for part in first.partners)
    for axis in (0, 1):
        centres = [first.centre[axis] for first in firsts]
        assert 0.3 <= min(centres) < 0.34 and 0.66 < max(centres) <= 0.7
    # Without scale jitter too, each is half as large and lies anywhere.
    plain = stream(items, batches=5, mosaic=1.0)
    assert {draw.zoom for batch in plain for draw in batch} == {0.5}
    assert len({draw.place for batch in plain for draw in batch}) == 10


def test_shape_groups_by_hand():
    # 16 / 9 and 5 / 3 are 0.83 and 0.74 octaves from the square, 3 / 2 and 4 / 3 are
    # 0.58 and 0.42.
    sizes = [(100, 100), (4, 3), (3, 2), (5, 3), (16, 9), (2, 1), (1, 2), (3, 4)]
    groups = shape_groups(np.array(sizes, np.int32))
    assert groups.tolist() == [0, 2, 2, 3, 3, 4, -4, -2]
