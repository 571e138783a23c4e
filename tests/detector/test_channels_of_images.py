import numpy as np
import pytest
import torch
from faster_rcnn import Detector
from faster_rcnn.datasets.loading.images import ImageError
from faster_rcnn.inference.postprocess import detect_images
from faster_rcnn.inference.test_time_augmentation import view_batches
from tiny_checkpoints import save_tiny
from tiny_runs import CPU, make_record, tiny_config

RAW = ("net.in_channels", 2, "net.pixel_mean", [900, 0], "net.pixel_std", [300, 2])


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    config = tiny_config(*RAW, "test.score_threshold", 0.05)
    path = save_tiny(folder / "iter_0000004.pth", config)
    return Detector.from_checkpoint(path, device="cpu")


@pytest.mark.parametrize("settings", [{}, {"tiles": 40}])
def test_files_arrays_and_tensors_give_the_detections_of_a_test(
    detector, tmp_path, settings
):
    rng = np.random.default_rng(0)
    values = rng.normal((900, 0), (300, 2), (64, 80, 2)).astype(np.float32)
    path = tmp_path / "a.npy"
    np.save(path, values)
    expected = detector(path, **settings)
    assert len(expected) > 3 and expected.draw().shape == (64, 80, 3)
    tensor = torch.from_numpy(values).permute(2, 0, 1)
    for image in (values, values.astype(np.float64), tensor):
        found = detector(image, **settings)
        assert torch.equal(found.boxes, expected.boxes)
        assert torch.equal(found.scores, expected.scores)
    config = detector.config
    config = config.model_copy(update={"test": config.test.model_copy(update=settings)})
    ((entry,),) = detect_images(
        detector.model,
        view_batches([make_record(path, 80, 64)], config),
        boxes=config.boxes,
        test=config.test,
        device=CPU,
        dtype=detector.dtype,
    )
    np.testing.assert_array_equal(entry.boxes, expected.boxes.numpy())


def test_an_image_of_other_channels_is_an_error(detector, tmp_path):
    with pytest.raises(ImageError, match=r"image 0: expected 2 channels .* found 3"):
        detector(np.zeros((8, 8, 3), np.uint8))
