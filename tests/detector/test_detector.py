import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from faster_rcnn import Detector, Result
from faster_rcnn.datasets.loading.images import ImageError
from faster_rcnn.inference.postprocess import detect_images
from faster_rcnn.inference.test_time_augmentation import view_batches
from PIL import Image
from tiny_checkpoints import save_tiny
from tiny_runs import (
    CASCADE,
    CPU,
    RETINANET,
    draw_dataset,
    make_dataset,
    make_record,
    tiny_config,
)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Files of several shapes, those of one shape apart from each other."""
    folder = tmp_path_factory.mktemp("images")
    sizes = [(80, 64), (64, 96), (80, 64), (150, 40), (64, 90), (78, 64), (80, 64)]
    found = []
    for number, (width, height) in enumerate(sizes):
        drawn = draw_dataset(
            folder / str(number), 1, seed=number, width=width, height=height
        )
        found.append(drawn.records[0].path)
    return found


def assert_same(one, other, *, tolerance=None):
    """The same detections: to the bit, or within a tolerance."""
    assert len(one) > 0
    if tolerance is not None:
        assert one.labels.tolist() == other.labels.tolist()
        torch.testing.assert_close(one.boxes, other.boxes, atol=tolerance, rtol=0)
        torch.testing.assert_close(one.scores, other.scores, atol=tolerance, rtol=0)
        return
    for key, array in one.numpy().items():
        np.testing.assert_array_equal(array, other.numpy()[key])


def found_in_test(detector, paths):
    """Detections of the test of a data set in these files."""
    records = []
    for number, path in enumerate(paths):
        with Image.open(path) as image:
            record = make_record(path, *image.size)
        records.append(replace(record, image_id=str(number)))
    config = detector.config
    found = {}
    for batch in detect_images(
        detector.model,
        view_batches(make_dataset(records).records, config),
        boxes=config.boxes,
        test=config.test,
        device=CPU,
        dtype=detector.dtype,
    ):
        found |= {entry.image_id: entry for entry in batch}
    return [found[str(number)] for number in range(len(paths))]


VIEWS = ["test.scales", "[48]", "test.flip", "true"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("net", "settings"), [((), []), ((), VIEWS), (CASCADE, VIEWS), (RETINANET, VIEWS)]
)
def test_detections_are_those_of_a_test(tmp_path, paths, net, settings):
    config = tiny_config("test.score_threshold", 0.05, *net)
    detector = Detector.from_checkpoint(
        save_tiny(tmp_path / "iter_0000004.pth", config),
        device="cpu",
        overrides=["test.batch_size", "1", *settings],
    )
    for result, entry in zip(
        detector(paths), found_in_test(detector, paths), strict=True
    ):
        assert len(result) > 3
        np.testing.assert_array_equal(result.boxes.numpy(), entry.boxes)
        np.testing.assert_array_equal(result.scores.numpy(), entry.scores)
        np.testing.assert_array_equal(result.labels.numpy(), entry.classes)


TILES = ["test.tiles", "48", "test.batch_size", "3"]


@pytest.mark.parametrize("settings", [TILES, [*TILES, *VIEWS]])
def test_tiled_detections_are_those_of_a_test(checkpoint, paths, settings):
    detector = Detector.from_checkpoint(checkpoint, device="cpu", overrides=settings)
    few = paths[3:5] if settings is TILES else paths[4:5]
    entries = found_in_test(detector, few)
    for results in (detector(few), list(detector.stream(few))):
        for result, entry in zip(results, entries, strict=True):
            assert len(result) > 3 and result.size == entry_size(result)
            np.testing.assert_array_equal(result.boxes.numpy(), entry.boxes)
            np.testing.assert_array_equal(result.scores.numpy(), entry.scores)


def entry_size(result):
    with Image.open(result.path) as image:
        return image.size[::-1]


def test_tiles_change_only_images_larger_than_a_tile(detector, paths):
    small, large = paths[0], paths[3]
    for found, alone in zip(
        detector([small, large], tiles=80), detector([small, large]), strict=True
    ):
        same = np.array_equal(found.boxes.numpy(), alone.boxes.numpy())
        assert same == (found.path == small)
    with pytest.raises(ValueError, match="tiles of 32 pixels or more, found 0"):
        detector(small, tiles=0)


def test_legacy_boxes_become_pixel_edges(tmp_path, paths):
    config = tiny_config("boxes.offset", 1, "test.batch_size", 1)
    path = save_tiny(tmp_path / "a.pth", config)
    detector = Detector.from_checkpoint(path, device="cpu")
    result, entry = detector(paths[0]), found_in_test(detector, paths[:1])[0]
    np.testing.assert_array_equal(result.boxes.numpy(), entry.boxes)


def test_a_result_names_its_source(detector, paths):
    result = detector(paths[1])
    assert isinstance(result, Result)
    assert result.path == paths[1] and result.size == (96, 64)
    assert result.class_names == detector.classes
    assert set(result.names) <= {"box", "disc"} and len(result) == len(result.names)
    assert result.boxes.dtype == result.scores.dtype == torch.float32
    assert result.labels.dtype == torch.int64 and result.labels.min() >= 1
    assert (result.scores.diff() <= 0).all()
    assert (result.boxes >= 0).all()
    assert (result.boxes <= torch.tensor([64, 96, 64, 96])).all()
    # Tensors of inference mode could not be worked with.
    assert not result.boxes.is_inference()
    assert detector(np.zeros((64, 64, 3), np.uint8)).path is None


def test_one_picture_in_one_result_out(detector, paths):
    assert isinstance(detector(str(paths[0])), Result)
    pixels = np.asarray(Image.open(paths[0]))
    for several in ([paths[0]], (pixels,), iter([pixels])):
        (result,) = detector(several)
        assert_same(result, detector(paths[0]))
    assert detector([]) == [] == list(detector.stream([]))


def test_mixed_kinds_and_sizes_in_order(detector, paths):
    pixels = [np.array(Image.open(path)) for path in paths]
    tensor = torch.from_numpy(pixels[3]).permute(2, 0, 1)
    mixed = [str(paths[0]), pixels[1], Image.open(paths[2]), tensor, tensor / 255]
    expected = [0, 1, 2, 3, 3]
    for batch_size in (1, 2, 3, 10):
        found = detector(mixed, batch_size=batch_size)
        for result, number in zip(found, expected, strict=True):
            assert_same(result, detector(paths[number]), tolerance=1e-3)


def test_a_batch_of_tensors(detector, paths):
    images = [
        torch.from_numpy(np.array(Image.open(paths[number]))).permute(2, 0, 1)
        for number in (0, 2, 6)
    ]
    found = detector(torch.stack(images))
    assert len(found) == 3
    for result, number in zip(found, (0, 2, 6), strict=True):
        assert_same(result, detector(paths[number]), tolerance=1e-3)


def test_batches_are_of_like_shape(detector, paths, monkeypatch):
    sizes = watch_batches(detector, monkeypatch)
    detector(paths, batch_size=2)
    # (80, 64) twice; (64, 96) and (64, 90); the rest.
    assert [len(batch) for batch in sizes] == [2, 2, 2, 1]
    ratios = [[height / width for height, width in batch] for batch in sizes]
    assert all(max(batch) / min(batch) < 1.2 for batch in ratios)
    sizes.clear()
    detector(paths[:3])
    assert [len(batch) for batch in sizes] == [2, 1]  # test.batch_size


def watch_batches(detector, monkeypatch):
    """The sizes of the images of each batch from here on."""
    sizes, forward = [], detector.model.forward

    def watched(images):
        sizes.append(images.sizes.tolist())
        return forward(images)

    monkeypatch.setattr(detector.model, "forward", watched)
    return sizes


def test_a_stream_is_lazy_and_in_order(detector, paths):
    taken = []

    def source():
        for path in paths:
            taken.append(path)
            yield path

    results = detector.stream(source(), batch_size=3)
    assert taken == []
    assert next(results).path == paths[0] and taken == paths[:3]
    rest = list(results)
    assert [result.path for result in rest] == paths[1:]
    for result, path in zip(rest, paths[1:], strict=True):
        assert_same(result, detector(path), tolerance=1e-3)
    assert len(list(detector.stream(str(paths[0])))) == 1


def test_thresholds(detector, paths):
    everything = detector(paths[0])
    middle = everything.scores.median().item()
    above = detector(paths[0], score_threshold=middle)
    assert 0 < len(above) < len(everything)
    assert_same(above, everything.filter(middle))
    assert len(detector(paths[0], score_threshold=1)) == 0


def test_a_call_may_ask_for_less_than_the_configuration(checkpoint, detector, paths):
    everything = detector(paths[0])
    middle = everything.scores.median().item()
    strict = Detector.from_checkpoint(
        checkpoint, device="cpu", overrides=["test.score_threshold", str(middle)]
    )
    assert_same(strict(paths[0]), everything.filter(middle))
    assert_same(strict(paths[0], score_threshold=0.05), everything)


def test_a_choice_of_classes(detector, paths):
    everything = detector(paths[0])
    assert set(everything.names) == {"box", "disc"}
    discs = detector(paths[0], classes=["disc"])
    assert set(discs.names) == {"disc"}
    assert_same(discs, everything.filter(classes=["disc"]))


def test_pictures_are_turned_upright_by_default(detector, paths, tmp_path):
    pixels = np.array(Image.open(paths[0]))
    exif = Image.Exif()
    exif[274] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(path, exif=exif)
    upright = detector(path)
    assert upright.size == (64, 80)
    assert_same(upright, detector(pixels))
    assert upright.draw().shape == (64, 80, 3)
    stored = detector(path, exif=False)
    assert stored.size == (80, 64) and stored.draw().shape == (80, 64, 3)
    assert_same(next(detector.stream([path], exif=False)), stored)


def test_many_threads_share_a_detector(detector, paths):
    expected = [detector(path) for path in paths]
    start = threading.Barrier(4)

    def detect(worker):
        start.wait()
        order = [(worker + step) % len(paths) for step in range(len(paths))]
        return order, [detector(paths[number]) for number in order]

    with ThreadPoolExecutor(4) as pool:
        for order, found in pool.map(detect, range(4)):
            for number, result in zip(order, found, strict=True):
                assert_same(result, expected[number])


def test_bfloat16_finds_nearly_the_same(checkpoint, detector, paths):
    half = Detector.from_checkpoint(checkpoint, device="cpu", precision="bfloat16")
    one, other = detector(paths[0]), half(paths[0])
    assert other.boxes.dtype == other.scores.dtype == torch.float32
    assert not torch.equal(one.scores[:3], other.scores[:3])
    torch.testing.assert_close(one.scores[0], other.scores[0], atol=0.05, rtol=0)


def test_tiny_and_thin_pictures(detector):
    for shape in ((1, 1, 3), (1, 300, 3), (300, 1, 3), (2, 2)):
        result = detector(np.full(shape, 128, np.uint8))
        assert result.size == shape[:2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"score_threshold": 1.5}, "score_threshold from 0 to 1, found 1.5"),
        ({"score_threshold": float("nan")}, "found nan"),
        ({"batch_size": 0}, "batch_size of 1 or more, found 0"),
        ({"batch_size": 2.5}, "batch_size of 1 or more, found 2.5"),
        ({"classes": ["dics"]}, r"'dics' \(did you mean 'disc'\?\)"),
    ],
)
def test_bad_options_are_errors_before_anything_is_read(detector, options, told):
    for call in (detector, detector.stream):
        with pytest.raises(ValueError, match=told):
            call(["missing.jpg"], **options)


def test_bad_pictures_are_named(detector, paths, tmp_path):
    missing = tmp_path / "missing.jpg"
    with pytest.raises(ImageError, match=f"^{missing}: expected an image"):
        detector([paths[0], missing])
    with pytest.raises(ValueError, match=r"^image 1: .*found \(3,\) uint8"):
        detector([paths[0], np.zeros(3, np.uint8)])
    with pytest.raises(ValueError, match="found NoneType"):
        detector(None)
    results = detector.stream([paths[0], missing], batch_size=1)
    assert next(results).path == paths[0]
    with pytest.raises(ImageError, match="missing"):
        next(results)


def test_compilation_is_of_the_network(checkpoint, paths, monkeypatch):
    """Detections of a compiled network take too long to test; see docs/inference.md."""
    asked = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: asked.append(options)
    )
    detector = Detector.from_checkpoint(checkpoint, device="cpu", compile=True)
    assert asked == [{"dynamic": True}] and len(detector(paths[0])) > 0
