"""Draws of images give what evaluating the drawn images gives."""

from dataclasses import replace

import numpy as np
import pytest
from faster_rcnn.evaluation.analysis import comparison
from faster_rcnn.evaluation.analysis.bootstrap import (
    Interval,
    bootstrap_aps,
    interval,
    mean_aps,
)
from faster_rcnn.evaluation.analysis.comparison import compare_results, holm
from faster_rcnn.evaluation.analysis.error_analysis import analyse_errors
from faster_rcnn.evaluation.analysis.matches import match_detections
from faster_rcnn.evaluation.voc_ap import voc_average_precision

BOX = [10, 10, 20, 20]


def drawn_aps(dataset, detections, images):
    """Evaluate the data set made of the drawn images, some of them repeated."""
    records = [
        replace(dataset.records[i], image_id=f"{i}-{n}") for n, i in enumerate(images)
    ]
    entries = [
        replace(detections[i], image_id=f"{i}-{n}") for n, i in enumerate(images)
    ]
    drawn = replace(dataset, records=tuple(records))
    result = voc_average_precision(drawn, entries, metric="all")
    return [c.ap for c in result.per_class.values()]


def test_agrees_with_evaluating_the_drawn_images(random_scene):
    dataset, detections = random_scene
    # All scores differ, since ties are broken by place, which drawing changes.
    rng = np.random.default_rng(9)
    detections = [
        replace(d, scores=np.sort(rng.random(len(d.scores), np.float32))[::-1])
        for d in detections
    ]
    images = len(dataset.records)
    aps = bootstrap_aps(match_detections(dataset, detections), resamples=70, seed=4)
    assert aps.shape == (70, 3) and np.isnan(aps[:, 0]).all()
    draws = np.random.default_rng(4).integers(0, images, (128, images))
    for draw, got in zip(draws[:70], aps[:, 1:], strict=True):
        wanted = drawn_aps(dataset, detections, draw.tolist())
        np.testing.assert_allclose(got, wanted, rtol=1e-5)


def test_draws_depend_on_the_seed_alone(random_scene):
    matches = match_detections(*random_scene)
    many = bootstrap_aps(matches, resamples=70, seed=1)
    np.testing.assert_array_equal(many[:5], bootstrap_aps(matches, resamples=5, seed=1))
    assert not np.array_equal(many, bootstrap_aps(matches, resamples=70, seed=2))


def test_spread_by_hand(record, dataset, found):
    """Half of 100 images with a hit: AP is a share of 100 coins, deviation 0.05."""
    records = [record(f"{i}", [BOX], [1]) for i in range(100)]
    entries = [found(f"{i}", [BOX] * (i % 2), [0.9] * (i % 2)) for i in range(100)]
    matches = match_detections(dataset(records), entries)
    means = mean_aps(bootstrap_aps(matches, resamples=2000))
    assert means.std() == pytest.approx(0.05, rel=0.1)
    low, high = interval(means)
    assert low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)
    assert high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)


def test_what_cannot_be_measured(record, dataset, found):
    matches = match_detections(dataset([]), [])
    assert np.isnan(bootstrap_aps(matches, resamples=3)).all()
    data = dataset([record("a", [BOX], [1])])
    aps = bootstrap_aps(match_detections(data, [found("a")]), resamples=3)
    assert aps[:, 1].tolist() == [0, 0, 0] and np.isnan(aps[:, 2]).all()
    assert np.isnan(mean_aps(aps[:, :1])).all()
    one_of_two = dataset([record("a", [BOX], [1]), record("b")])
    entries = [found("a", [BOX], [0.9]), found("b")]
    aps = bootstrap_aps(match_detections(one_of_two, entries), resamples=64)
    unseen = np.isnan(aps[:, 1])
    assert 5 < unseen.sum() < 28  # a quarter of the draws lack the object's image
    assert (aps[~unseen, 1] == 1).all()
    assert np.isnan(interval(aps[:, 2])).all()
    assert interval(np.arange(101.0)) == pytest.approx(Interval(2.5, 97.5))
    with pytest.raises(ValueError, match="one resample or more, found 0"):
        bootstrap_aps(matches, resamples=0)


def test_comparison(record, dataset, found, monkeypatch):
    """Cats are found in 60 of 100 images and then in all; dogs always in half."""
    records = [record(f"{i}", [BOX, BOX], [1, 2]) for i in range(100)]

    def analysis(cats):
        entries = [
            found(
                f"{i}",
                [BOX] * ((i < cats) + (i % 2)),
                [0.9] * (i < cats) + [0.8] * (i % 2),
                [1] * (i < cats) + [2] * (i % 2),
            )
            for i in range(100)
        ]
        return analyse_errors(dataset(records), entries, resamples=200)

    before, after = analysis(60), analysis(100)
    result = compare_results(before, after)
    cat, dog = result.per_class["cat"], result.per_class["dog"]
    assert (cat.earlier, cat.later) == pytest.approx((0.6, 1))
    assert cat.significant and cat.p_value < 1e-6
    assert cat.interval.low == pytest.approx(0.4 - 1.96 * 0.049, abs=0.04)
    assert not dog.significant and dog.p_value == 1 and dog.change == 0
    assert result.mean.change == pytest.approx(0.2) and result.mean.significant
    monkeypatch.setattr(comparison, "holm", lambda p_values: [False, False])
    corrected = compare_results(before, after)
    assert not corrected.per_class["cat"].significant and corrected.mean.significant
    back = compare_results(after, before)
    assert back.mean.change == pytest.approx(-0.2)
    assert back.mean.interval.high == pytest.approx(-result.mean.interval.low)


def test_a_small_difference_may_be_chance(record, dataset, found):
    records = [record(f"{i}", [BOX], [1]) for i in range(20)]

    def analysis(hits):
        entries = [
            found(f"{i}", [BOX] * (i in hits), [0.9] * (i in hits)) for i in range(20)
        ]
        return analyse_errors(dataset(records), entries, resamples=200)

    result = compare_results(analysis(range(10)), analysis(range(1, 12)))
    assert result.mean.change == pytest.approx(0.05)
    assert not result.mean.significant and result.mean.p_value > 0.3
    assert result.mean.interval.low < 0 < result.mean.interval.high


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.02]) == [True, True, True]
    assert holm([0.04, 0.02, 0.03]) == [False, False, False]
    assert holm([0.03, 0.01, 0.03]) == [False, True, False]
    assert holm([]) == []


def test_results_that_do_not_belong_together(record, dataset, found):
    one = dataset([record("a", [BOX], [1])])
    two = dataset([record("a", [BOX], [1]), record("b")])
    first = analyse_errors(one, [found("a")], resamples=3)
    with pytest.raises(ValueError, match="1 images with 1 objects and 2 images"):
        compare_results(first, analyse_errors(two, [found("a"), found("b")]))
    with pytest.raises(
        ValueError, match="as many draws of both results, found 3 and 4"
    ):
        compare_results(first, analyse_errors(one, [found("a")], resamples=4))
