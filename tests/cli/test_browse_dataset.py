from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from command_lines import load_tool, run_command
from faster_rcnn.engine.training_batches import stream_batches
from faster_rcnn.inference.batch_pictures import GREY
from faster_rcnn.utils.drawing import class_color, draw_boxes
from tiny_runs import CLASSES, draw_dataset, make_dataset, make_record, tiny_config

browse = load_tool("browse_dataset")


@pytest.mark.parametrize("offset", [0, 1])
def test_pictures_are_the_batches_of_training(tmp_path, offset):
    dataset = draw_dataset(tmp_path, 3)
    config = tiny_config("boxes.offset", offset, "data.scale_jitter", "[0.5,2]")
    # Drawn at the size of the batch, so that no pixel is changed by a resize.
    size = 80
    made = list(
        browse.network_pictures(
            stream_batches(dataset, config), CLASSES, offset=offset, count=5, size=size
        )
    )
    assert len(made) == 5
    batches = list(islice(stream_batches(dataset, config), 3))
    images = [(batch, i) for batch in batches for i in range(2)]
    same = 0
    for (picture, title), (batch, i) in zip(made, images[:5], strict=True):
        canvas = batch.images.pixels[i].permute(1, 2, 0).numpy()
        height, width = batch.images.sizes[i].tolist()
        assert title.startswith(f"{batch.image_ids[i]}: {width} x {height}, scale ")
        assert max(picture.shape[:2]) == size
        if max(canvas.shape[:2]) != size:
            continue
        same += 1
        truth = batch.ground_truth
        edges = truth.boxes[i][truth.valid[i]].numpy()
        edges[:, 2:] += offset
        classes = truth.classes[i][truth.valid[i]].tolist()
        if not len(batch.ignored[i]):
            expected = draw_boxes(
                np.ascontiguousarray(canvas),
                edges,
                labels=[CLASSES[c] for c in classes],
                colors=[class_color(c) for c in classes],
            )
            np.testing.assert_array_equal(picture, expected)
    assert same


def test_ignored_objects_are_grey(tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), np.full((64, 96, 3), 255, np.uint8))
    boxes = [(10, 20, 30, 40), (50, 20, 80, 60)]
    record = make_record(tmp_path / "0.png", 96, 64, boxes, crowd=[False, True])
    config = tiny_config("train.batch_size", 1, "data.flip", False)
    batches = stream_batches(make_dataset([record]), config)
    ((picture, _),) = browse.network_pictures(
        batches, CLASSES, offset=0, count=1, size=96
    )
    assert tuple(picture[30, 10]) == class_color(1)
    assert tuple(picture[50, 50]) == GREY == tuple(picture[59, 60])


def test_sheet_by_hand():
    red = np.full((10, 20, 3), (255, 0, 0), np.uint8)
    tall = np.full((30, 20, 3), (0, 255, 0), np.uint8)
    cells = [(red, ""), (tall, ""), (red, "")]
    sheet = browse.contact_sheet(cells, columns=2)
    assert sheet.shape[1] == 20 + 4 + 20
    is_red = (sheet == (255, 0, 0)).all(axis=2)
    is_green = (sheet == (0, 255, 0)).all(axis=2)
    assert is_red.sum() == 2 * 200 and is_green.sum() == 600
    assert is_red[:, 20:].sum() == 0 and is_green[:, :24].sum() == 0
    assert browse.contact_sheet(cells[:1], columns=4).shape[1] == 20


def test_command_line(tmp_path, monkeypatch):
    dataset = draw_dataset(tmp_path / "drawn", 4)
    monkeypatch.setattr(browse, "get_dataset", lambda *_: dataset)
    command = ["shapes", "mobile_v2", "--columns", "2"]
    command += ["--size", "60", "--output", str(tmp_path / "sheet.png")]
    state = torch.get_rng_state()
    assert run_command("browse_dataset", *command, "--count", "4", "--rows", "2") == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert [path.name for path in tmp_path.glob("*.png")] == ["sheet.png"]
    assert run_command("browse_dataset", *command, "--count", "5", "--rows", "1") == 0
    names = sorted(path.name for path in tmp_path.glob("sheet_*.png"))
    assert names == ["sheet_1.png", "sheet_2.png", "sheet_3.png"]
    widths = [cv2.imread(str(tmp_path / name)).shape[1] for name in names]
    assert widths[2] < widths[0] == widths[1]


@pytest.mark.parametrize("count", ["0", "-3", "some"])
def test_count_has_to_be_positive(capsys, count):
    assert run_command("browse_dataset", "shapes", "res50", f"--count={count}") == 2
    assert f"a whole number of 1 or more, found '{count}'" in capsys.readouterr().err
