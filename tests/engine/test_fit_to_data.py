"""Length, image size, anchors and passes that follow a training set."""

from pathlib import Path

import numpy as np
import pytest
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.recipes import find_recipes, net_settings
from faster_rcnn.engine.fit_to_data import fit_to_data
from faster_rcnn.engine.schedule import settle_schedule
from tiny_runs import make_dataset, make_record


def recipe(net="res50", *overrides):
    """The recipe of one's own data."""
    words = [*net_settings(net), *map(str, overrides)]
    return load_config(find_recipes("no/such/folder", net), words)


def photos(count=1, side=160.0, size=(800, 600), start=50.0):
    boxes = [(start, start, start + side, start + side)]
    path = Path("photo.jpg")
    return make_dataset([make_record(path, *size, boxes) for _ in range(count)])


def fit(config, dataset, *, fixed=(), recorded=None, fits=lambda _: True):
    return fit_to_data(config, dataset, fixed=fixed, recorded=recorded, fits=fits)


@pytest.mark.parametrize(
    ("count", "updates", "every"),
    [(10, 500, 80), (100, 1500, 250), (205, 3000, 500), (4000, 12000, 2000)],
)
def test_length(count, updates, every):
    config, (line,) = fit(recipe(), photos(count))
    train = config.train
    assert (train.iterations, train.validate_every) == (updates, every)
    assert train.snapshot_every == every and not train.auto
    assert train.warmup_iterations == pytest.approx(updates / 15, abs=5)
    assert f"{updates} updates of 4 images, {4 * updates / count:.0f} epochs" in line
    assert fit(config, photos(7)) == (config, [])  # numbers are fixed from now on


def test_a_very_short_run_has_a_part_of_an_epoch():
    short = recipe("res50", "train.iterations", 3)
    _, (line,) = fit(short, photos(400), fixed={"train.iterations"})
    assert "3 updates of 4 images, 0.03 epochs of 400" in line


def test_what_the_user_sets_stays():
    tiny, plain = photos(10, side=6), recipe()
    fixed = {"train.iterations", "data.long_side", "anchors.scales", "train.batch_size"}
    config, _ = fit(plain, tiny, fixed=fixed, fits=lambda _: False)
    assert config.train == plain.train.model_copy(update={"auto": False})
    assert (config.data, config.anchors) == (plain.data, plain.anchors)
    config, _ = fit(plain, tiny, fixed={"train.validate_every"})
    assert (config.train.iterations, config.train.validate_every) == (500, 500)
    by_epochs = recipe("res50", "train.epochs", 3)
    assert fit(by_epochs, tiny)[0].train.iterations == plain.train.iterations


def test_small_objects_get_larger_images():
    config, lines = fit(recipe(), photos(10, side=12))
    assert config.data.short_sides == (800,) and config.data.long_side == 1344
    assert (config.data.test_short_side, config.data.test_long_side) == (800, 1344)
    assert "a quarter of the objects are below 12 px at short side 600" in lines[1]
    # Pictures that are enlarged already are not enlarged further.
    config, _ = fit(recipe(), photos(10, side=2, size=(160, 120)))
    assert config.data.short_sides == (600,)


def test_scales_of_the_check_where_anchors_match_badly():
    config, lines = fit(recipe("res50", "anchors.scales", "[16, 32]"), photos(side=64))
    assert config.anchors.scales == (4,)
    assert "anchors.scales 4, which leave 0 in place of 1 of 1 objects" in lines[1]
    assert fit(recipe(), photos())[0].anchors == recipe().anchors
    pyramid = recipe("res50_fpn")
    assert fit(pyramid, photos(side=64))[0].anchors == pyramid.anchors


def test_passes_that_fit():
    config, lines = fit(recipe(), photos(), fits=lambda c: c.train.batch_size <= 1)
    assert (config.train.batch_size, config.train.accumulate) == (1, 4)
    assert "passes of 1 images" in lines[1]
    config, _ = fit(recipe(), photos(), fits=lambda _: False)
    assert config.train.batch_size == 1


def test_a_resumed_run_keeps_its_numbers():
    def settle(config, recorded=None):
        fitted, lines = fit(
            config, dataset, recorded=recorded, fixed={"train.momentum"}
        )
        settled, _ = settle_schedule(
            fitted, processes=1, given=(), recorded=recorded, train_images=9
        )
        return settled, lines

    dataset = photos(10, side=6)
    begun, _ = settle(recipe("res50", "train.batch_size", 8))
    assert begun.train.iterations == 250 and np.isclose(begun.train.lr, 0.02)
    dataset = photos(500)
    again, lines = settle(recipe("res50", "train.batch_size", 8), recorded=begun)
    assert again == begun and lines == []


def test_recipes_of_published_data_stay():
    config = load_config(find_recipes("voc", "res50"), net_settings("res50"))
    assert fit(config, photos()) == (config, [])
