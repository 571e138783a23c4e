"""Given proposals go wherever the objects go, and come with the batch."""

import itertools

import cv2
import numpy as np
import pytest
from faster_rcnn.datasets.formats.proposals import GivenProposals, ScoredBoxes
from faster_rcnn.datasets.loading.batches import collate
from loader_words import evaluation_batches_of as make_test_batches
from loader_words import sample_of, training_batches_of
from tiny_runs import draw_dataset, make_record


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("images"), 4)


def objects_of(records, *, most=5) -> GivenProposals:
    """The objects themselves as proposals, the last ones being the best."""
    boxes = [record.boxes[::-1] for record in records]
    counts = [len(own) for own in boxes]
    return GivenProposals(
        starts=np.cumsum([0, *counts]),
        boxes=np.concatenate(boxes),
        scores=np.concatenate([-np.arange(n, dtype=np.float32) for n in counts]),
        most=most,
    )


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"flip": True},
        {"zoom": 1.7, "place": (0.3, 0.9)},
        {"zoom": 0.4, "flip": True},
        {"window": (30, 50), "zoom": 0.5},
    ],
)
def test_a_proposal_on_an_object_stays_there(dataset, offset, options):
    options = options | {"short_side": 48, "offset": offset, "min_visible": 0}
    for i, record in enumerate(dataset.records):
        given = objects_of(dataset.records).of(i)
        sample = sample_of(record, proposals=given, **options)
        assert len(sample.boxes)
        np.testing.assert_array_equal(sample.proposals.boxes[::-1], sample.boxes)
        assert np.all(np.diff(sample.proposals.scores) < 0)
        # What is not asked for is not there, and changes nothing.
        bare = sample_of(record, **options)
        assert bare.proposals is None
        np.testing.assert_array_equal(bare.boxes, sample.boxes)
        np.testing.assert_array_equal(bare.ignored, sample.ignored)


def test_proposals_out_of_sight_are_left_out(tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((20, 40, 3), np.uint8))
    record = make_record(path, 40, 20, [(0, 0, 10, 10)])
    boxes = np.array([(30, 0, 40, 20), (1, 1, 30, 9)], np.float32)
    given = ScoredBoxes(boxes, np.array([2, 1], np.float32))
    options = {"short_side": 20, "long_side": 40, "zoom": 2, "place": (0, 0)}
    sample = sample_of(record, proposals=given, **options)
    np.testing.assert_array_equal(sample.proposals.boxes, [(2, 2, 40, 18)])
    assert sample.proposals.scores.tolist() == [1]


def test_batches_are_padded_best_first(dataset):
    counts = [len(record.boxes) for record in dataset.records]
    assert set(counts) == {2, 3}
    given = objects_of(dataset.records)
    samples = [
        sample_of(record, short_side=64, proposals=given.of(i))
        for i, record in enumerate(dataset.records)
    ]
    batch = collate(samples, size_multiple=16, proposal_slots=5)
    boxes, scores, valid = batch.proposals
    assert boxes.shape == (4, 5, 4) and scores.shape == valid.shape == (4, 5)
    assert valid.sum(1).tolist() == counts
    assert batch.given == {"proposals": batch.proposals}
    few = collate(samples, size_multiple=16, proposal_slots=1)
    for i, sample in enumerate(samples):
        np.testing.assert_array_equal(boxes[i, : counts[i]], sample.boxes[::-1])
        np.testing.assert_array_equal(few.proposals.boxes[i, 0], sample.boxes[-1])


def test_no_proposals(dataset):
    records = dataset.records
    samples = [sample_of(r, short_side=64) for r in records]
    batch = collate(samples, size_multiple=16)
    assert batch.proposals is None and batch.given == {}


def stream(records, **options):
    options = options | {"short_sides": (48, 64), "min_visible": 0}
    return training_batches_of(records, **options)


@pytest.mark.parametrize("mosaic", [0, 1])
def test_training_stream(dataset, mosaic):
    options = {"scale_jitter": (0.6, 1.6), "mosaic": mosaic}
    given = objects_of(dataset.records, most=20)
    batches = stream(dataset.records, proposals=given, **options)
    bare = stream(dataset.records, **options)
    for batch, plain in itertools.islice(zip(batches, bare, strict=True), 5):
        assert (batch.images.pixels == plain.images.pixels).all()
        for i in range(2):
            mine = batch.proposals.boxes[i][batch.proposals.valid[i]]
            truth = batch.ground_truth.boxes[i][batch.ground_truth.valid[i]]
            assert len(mine) == len(truth)
            assert sorted(mine.tolist()) == sorted(truth.tolist())
            scores = batch.proposals.scores[i][batch.proposals.valid[i]]
            assert (scores.diff() <= 0).all()


def test_test_batches_match_by_image(dataset):
    given = objects_of(dataset.records, most=3)
    options = {"batch_size": 3, "short_side": 64, "proposals": given}
    for batch in make_test_batches(dataset.records, **options):
        assert batch.proposals.boxes.shape[1] == 3
        for i in range(len(batch.image_ids)):
            mine = batch.proposals.boxes[i][batch.proposals.valid[i]].flip(0)
            truth = batch.ground_truth.boxes[i][batch.ground_truth.valid[i]]
            assert (mine == truth).all()
