from itertools import islice
from pathlib import Path

import pytest
from faster_rcnn.datasets.training_stream import training_stream
from tiny_runs import make_record

SHAPES = [(80, 60), (60, 80), (100, 100), (150, 50)]  # width, height


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
    return list(islice(training_stream(items, **(defaults | options)), batches))


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
