from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from dataset_folders import load, write_voc
from faster_rcnn.datasets.class_balance import (
    class_offsets,
    class_weights,
    describe_balance,
    repeat_factors,
)
from loader_words import stream_of
from tiny_runs import make_dataset, make_record, tiny_config

BOX = (2, 3, 20, 22)


def skewed():
    """Sixteen images with a box, one of which has a disc too; one without objects."""
    kinds = [[1, 2], *[[1]] * 14, [1, 1, 1], []]
    return make_dataset(
        make_record(Path(f"{i}.png"), 64, 48, [BOX] * len(own), own)
        for i, own in enumerate(kinds)
    )


def test_repeat_factors_by_hand():
    assert repeat_factors(skewed(), tiny_config()) is None
    # Discs are in 1 of 17 images: sqrt(0.25 * 17). Boxes are in more than a quarter.
    found = repeat_factors(skewed(), tiny_config("data.repeat_threshold", 0.25))
    np.testing.assert_allclose(found, [4.25**0.5, *[1] * 16])


def test_objects_that_are_not_trained_on_repeat_no_image():
    record = make_record(
        *(Path("a.png"), 64, 48, [BOX] * 2, [1, 2]), difficult=[False, True]
    )
    dataset = make_dataset([record, make_record(Path("b.png"), 64, 48, [BOX])])
    changes = ("data.repeat_threshold", 1)
    assert repeat_factors(dataset, tiny_config(*changes)).tolist() == [1, 1]
    both = repeat_factors(dataset, tiny_config(*changes, "data.use_difficult", True))
    assert both.tolist() == [2**0.5, 1]


def test_shares_of_joined_sets(tmp_path):
    write_voc(tmp_path / "one", train=["a", "b", "c"], test=["t"])
    write_voc(tmp_path / "two", train=["d"], test=["u"])
    joined = load(f"{tmp_path}/one+{tmp_path}/two", tmp_path)
    found = repeat_factors(joined, tiny_config("data.set_shares", "[1, 3]"))
    np.testing.assert_allclose(found, [1 / 3, 1 / 3, 1 / 3, 3])
    with pytest.raises(ValueError, match=r"2 numbers.*one_train, two_train.*found 1"):
        repeat_factors(joined, tiny_config("data.set_shares", "[1]"))
    told = describe_balance(joined, tiny_config("data.set_shares", "[1, 3]"))[1]
    assert told.endswith(
        ": 25.0% from one_train (3 images), 75.0% from two_train (1 images)"
    )
    single = load(tmp_path / "one", tmp_path)
    with pytest.raises(ValueError, match=r"expected 1 numbers.*one_train.*found 2"):
        describe_balance(single, tiny_config("data.set_shares", "[1, 2]"))


def test_the_stream_repeats_by_the_factors():
    items = [make_record(Path(f"{i}.png"), 64, 48) for i in range(8)]
    factors = np.array([2.5, *[1] * 6, 0.25])
    options = {"short_sides": [48], "batch_size": 2, "seed": 3, "factors": factors}
    drawn = list(islice(stream_of(items, **options), 875))  # 200 epochs of 8.75 images
    counts = np.bincount([draw.image for batch in drawn for draw in batch])
    np.testing.assert_allclose(counts / 200, factors, atol=0.1)
    # An image of factor 1 is drawn once in each epoch.
    assert all(abs(count - 200) <= 2 for count in counts[1:7])
    assert list(islice(stream_of(items, **options), 100, 200)) == drawn[100:200]
    other = stream_of(items, **options | {"seed": 4})
    assert list(islice(other, 100)) != drawn[:100]


def test_class_weights():
    dataset = skewed()
    assert class_weights(dataset, tiny_config()) is None
    named = tiny_config("train.class_weights", "{disc: 2.5}")
    assert class_weights(dataset, named).tolist() == [1, 1, 2.5]
    # 19 objects of 2 classes: 18 boxes, 1 disc.
    balanced = tiny_config("train.class_weights", "balanced")
    np.testing.assert_allclose(class_weights(dataset, balanced), [1, 19 / 36, 9.5])
    wrong = tiny_config("train.class_weights", "{disk: 2}")
    with pytest.raises(ValueError, match=r"'disk'.*did you mean 'disc'.*box, disc"):
        class_weights(dataset, wrong)


def test_the_log_names_the_rarest():
    both = tiny_config(
        *("data.repeat_threshold", 0.25, "train.class_weights", "{disc: 2}")
    )
    assert describe_balance(skewed(), both) == [
        "an epoch draws 18 of 17 images: 2 with disc (1 without repeats), 17 with box "
        "(16 without repeats)",
        "weights in the classification loss: box 1, disc 2",
    ]


def test_logit_adjustment_by_hand():
    assert class_offsets(skewed(), tiny_config()) is None
    adjusted = tiny_config("train.logit_adjustment", 0.5)
    # 18 boxes and 1 disc, 9.5 on average.
    expected = [0, np.log(18 / 9.5) / 2, np.log(1 / 9.5) / 2]
    np.testing.assert_allclose(class_offsets(skewed(), adjusted), expected)
    told = describe_balance(skewed(), adjusted)
    assert told == ["offsets of the logits in training: box 0.32, disc -1.13"]
