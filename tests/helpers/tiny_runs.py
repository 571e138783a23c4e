"""A tiny detector and a tiny drawn data set, for tests of what trains and detects."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.datasets.records import Dataset, Record
from faster_rcnn.engine.run_folder import RunFolder
from faster_rcnn.engine.train import train
from faster_rcnn.engine.train_record import TrainRecord
from faster_rcnn.inference.detector_evaluation import evaluate_detector
from faster_rcnn.inference.postprocess import detect_batch
from faster_rcnn.layer_utils.structures import Detections, GroundTruth, Images
from faster_rcnn.model.build import build_detector
from faster_rcnn.model.network import Network
from faster_rcnn.model.two_stage import TwoStage
from faster_rcnn.nets.box_predictor import BoxPredictor
from faster_rcnn.nets.dense_predictor import DensePredictor
from faster_rcnn.nets.rpn import RPNPredictor
from faster_rcnn.utils.device import pick_dtype, seed_everything
from faster_rcnn.utils.distributed import collectives
from faster_rcnn.utils.shape_only import WithoutDraws
from torch import nn

CPU = torch.device("cpu")
CLASSES = ("__background__", "box", "disc")

SETTINGS = """
net.name mobile_v2  net.weights none  net.head_stride 2
anchors.scales [1,2]
boxes.offset 0  boxes.max_log_size 4.135
rpn.channels 32  rpn.batch_size 32
rpn.train_pre_nms 150  rpn.train_post_nms 40
rpn.test_pre_nms 100  rpn.test_post_nms 24
pooling.size 4  pooling.sampling_ratio 2  pooling.aligned true
head.rois_per_image 16  head.add_ground_truth true
data.short_sides [64]  data.long_side 96
data.test_short_side 64  data.test_long_side 96  data.size_multiple 16
data.workers 0
train.iterations 4  train.batch_size 2  train.lr 0.01  train.precision float32
train.log_every 1  train.snapshot_every 100  train.picture_every 0
train.histogram_every 0
test.batch_size 2  test.pictures 1  test.report false
"""


RETINANET = (
    *("net.name", "res18", "net.detector", "retinanet", "net.features", "fpn"),
    *("net.fpn_channels", 64, "net.fpn_finest", 8, "net.fpn_coarser", 2),
    *("net.fpn_coarser_by", "c5", "anchors.scales", "[2, 3]", "dense.pre_nms", 60),
)
"""Overrides that make the tiny detector a RetinaNet."""

CASCADE = ("net.detector", "cascade", "head.cascade", "[0.6, 0.7]", "rpn.border", -1)
"""Overrides that make the tiny detector a cascade."""


def tiny_settings(*overrides: object) -> list[str]:
    """Settings of a tiny run as after ``--set``, with overrides of one's own last."""
    return [*SETTINGS.split(), *map(str, overrides)]


def tiny_config(*overrides: object) -> Config:
    return load_config([], tiny_settings(*overrides))


class Recent(dict):
    """The last few entries; further ones push out the oldest."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        while len(self) > 4:
            del self[next(iter(self))]


# Drawing weights takes most of the time of a build: what was drawn is kept.
_initial, _random = Recent(), Recent()


def tiny_detector(config: Config, *, classes: int = 3, seed: int = 0) -> TwoStage:
    seed_everything(seed)
    key = config.model_dump_json(exclude={"data", "train", "test"}), classes, seed
    if torch.get_default_device().type != "cpu":
        return build_detector(config, classes)
    if key in _initial:
        state, after = _initial[key]
        with WithoutDraws():
            model = build_detector(config, classes)
        model.load_state_dict(state)
        torch.set_rng_state(after)
        return model
    model = build_detector(config, classes)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    _initial[key] = state, torch.get_rng_state()
    return model


def train_tiny(
    dataset: Dataset,
    config: Config,
    folder: Path,
    *,
    seed: int = 0,
    model: TwoStage | None = None,
    **options,
) -> TwoStage:
    """Train in ``folder``, or resume what is there; gives the trained detector."""
    run = RunFolder(folder)
    if collectives.is_main():
        run.claim(config)
    collectives.barrier()
    model = model or tiny_detector(config, classes=len(dataset.classes), seed=seed)
    dtype = pick_dtype(config.train.precision, CPU)
    train(model, dataset, config, run, dtype=dtype, **options)
    return model


def run_test(
    dataset: Dataset,
    config: Config,
    folder: Path,
    *,
    test=evaluate_detector,
    model: TwoStage | None = None,
    **options,
):
    """Test a detector, or its proposals; None for an untrained tiny one."""
    return test(
        model or tiny_detector(config),
        dataset,
        config,
        folder=folder,
        device=CPU,
        dtype=torch.float32,
        checkpoint="iter_0000004.pth",
        **options,
    )


def checkpoint_names(folder: Path) -> list[str]:
    return [path.name for path in RunFolder(folder).checkpoints()]


def read_metrics(folder: Path) -> list[dict[str, float]]:
    text = RunFolder(folder).metrics_file.read_text()
    return [json.loads(line) for line in text.splitlines()]


def draw_dataset(
    folder: Path, count: int, *, seed: int = 0, width: int = 80, height: int = 64
) -> Dataset:
    """Bright boxes and discs on noise, two or three to an image, without overlap."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    records = []
    for number in range(count):
        pixels = rng.integers(0, 100, (height, width, 3)).astype(np.uint8)
        boxes, classes = [], []
        for column in range(int(rng.integers(2, 4))):
            side = int(rng.integers(14, width // 3 - 4))
            x = column * (width // 3) + int(rng.integers(1, 4))
            y = int(rng.integers(2, height - side - 2))
            kind = int(rng.integers(1, 3))
            colour = tuple(int(c) for c in rng.integers(130, 255, 3))
            if kind == 1:
                pixels[y : y + side, x : x + side] = colour
            else:
                middle = (x + side // 2, y + side // 2)
                cv2.circle(pixels, middle, side // 2, colour, -1)
            boxes.append((x, y, x + side, y + side))
            classes.append(kind)
        path = folder / f"image{number}.png"
        cv2.imwrite(str(path), pixels)
        records.append(make_record(path, width, height, boxes, classes))
    return make_dataset(records)


def make_record(path, width, height, boxes=(), classes=None, **flags) -> Record:
    """A record; all objects are of class 1 and neither difficult nor crowd."""
    count = len(boxes)
    edges = np.array(boxes, np.float32).reshape(count, 4)
    return Record(
        image_id=path.stem,
        path=path,
        width=width,
        height=height,
        boxes=edges,
        classes=np.array([1] * count if classes is None else classes, np.int64),
        difficult=np.array(flags.get("difficult", [False] * count), np.bool_),
        crowd=np.array(flags.get("crowd", [False] * count), np.bool_),
        areas=(edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1]),
        object_ids=np.arange(count),
    )


def make_dataset(records) -> Dataset:
    return Dataset(
        name="tiny",
        layout="voc",
        classes=CLASSES,
        records=tuple(records),
        drops={},
        annotation_file=None,
        category_ids=(0, 1, 2),
    )


def random_images(*sizes: tuple[int, int], multiple: int = 16, seed: int = 0) -> Images:
    """Noise images of these heights and widths, padded together."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (
        -(-max(sides) // multiple) * multiple for sides in zip(*sizes, strict=True)
    )
    pixels = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    for slot, (h, w) in zip(pixels, sizes, strict=True):
        # Blocks of 8 pixels, so that features differ from place to place.
        coarse = torch.randint(0, 256, (3, h // 8 + 1, w // 8 + 1), generator=generator)
        fine = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
        slot[:, :h, :w] = fine[:, :h, :w].to(torch.uint8)
    return Images(
        pixels=pixels,
        sizes=torch.tensor(sizes),
        padded=any(size != (height, width) for size in sizes),
    )


def bare(images: Images, index: int) -> Images:
    """One image of a batch without its padding."""
    height, width = images.sizes[index].tolist()
    pixels = images.pixels[index : index + 1, :, :height, :width]
    return Images(pixels, images.sizes[index : index + 1], False)


def ground_truth(*objects: list[tuple[int, float, float, float, float]], slots=4):
    """Ground truth of images given as lists of (class, x1, y1, x2, y2)."""
    boxes = torch.zeros(len(objects), slots, 4)
    classes = torch.zeros(len(objects), slots, dtype=torch.int64)
    valid = torch.zeros(len(objects), slots, dtype=torch.bool)
    for i, of_image in enumerate(objects):
        for j, (label, *box) in enumerate(of_image):
            boxes[i, j] = torch.tensor(box)
            classes[i, j] = label
            valid[i, j] = True
    return GroundTruth(boxes, classes, valid, crowd=torch.zeros_like(valid))


def one_graph(model: Network) -> Network:
    """Trace a detector, as one graph, at its first call."""
    torch._dynamo.reset()
    return torch.compile(model, fullgraph=True, backend="eager")


def without_padding(images: Images) -> list[torch.Tensor]:
    """Images in 0..1 as torchvision's detectors take them."""
    return [
        pixels[:, :height, :width] / 255
        for pixels, (height, width) in zip(
            images.pixels, images.sizes.tolist(), strict=True
        )
    ]


def detect_images(model: Network, config: Config, images: Images) -> Detections:
    """Detections in images that were not resized, in float32."""
    count = len(images.sizes)
    batch = Batch(
        images=images,
        ground_truth=ground_truth(*[[]] * count),
        scales=torch.ones(count),
        original_sizes=images.sizes,
        image_ids=tuple(map(str, range(count))),
    )
    return detect_batch(
        model, batch, boxes=config.boxes, test=config.test, dtype=torch.float32
    )


@torch.no_grad()
def randomise(model: TwoStage, *, seed: int = 1) -> None:
    """Give an untrained detector scores and boxes that differ from place to place.

    Its own initial weights are so small that everything scores nearly the same, and
    rounding would decide the order; and its norms let zeros pass, which would hide
    padding that is not masked.
    """
    state = model.state_dict()
    key = seed, tuple((name, tensor.shape) for name, tensor in state.items())
    if key not in _random:
        versions = {name: tensor._version for name, tensor in state.items()}
        _randomise(model, seed)
        drawn = {n: t for n, t in state.items() if t._version > versions[n]}
        _random[key] = {name: tensor.clone() for name, tensor in drawn.items()}
    for name, drawn in _random[key].items():
        state[name].copy_(drawn)


def _randomise(model: TwoStage, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(weight: torch.Tensor, gain: float) -> None:
        # Drawn contiguous: PyTorch draws channels_last weights 8 times as slowly.
        drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        weight.copy_(drawn.mul_(gain / weight[0].numel() ** 0.5))

    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.weight.uniform_(0.6, 1.2, generator=generator)
            part.bias.normal_(0, 0.3, generator=generator)
            part.running_mean.normal_(0, 0.3, generator=generator)
            part.running_var.uniform_(0.6, 1.4, generator=generator)
        elif isinstance(part, nn.Conv2d):
            draw(part.weight, 2**0.5)
    # Nothing between a pyramid's convolutions halves what the factor doubles.
    for part in (model.pyramid or nn.Module()).modules():
        if isinstance(part, nn.Conv2d):
            draw(part.weight, 1)
    gains = {RPNPredictor: (1, 0.3), BoxPredictor: (1, 0.2), DensePredictor: (1, 0.2)}
    for part in model.modules():
        for kind, (scores, deltas) in gains.items():
            if isinstance(part, kind):
                draw(part.scores.weight, scores)
                draw(part.deltas.weight, deltas)


def at_iteration(
    patch: pytest.MonkeyPatch, iteration: int, action: Callable[[], object]
) -> None:
    """Have something done once so many updates are made, before they are saved."""
    step = TrainRecord.step

    def with_action(self, done, *arguments, **options):
        step(self, done, *arguments, **options)
        if done == iteration:
            action()

    patch.setattr(TrainRecord, "step", with_action)
