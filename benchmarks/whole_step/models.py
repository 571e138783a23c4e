"""The inputs of a comparison of whole steps: a recipe, a batch, and equal weights.

All implementations have the same network and weights, the conventions of
torchvision.yml, the same counts of proposals, RoIs and classes, and the same generated
images, so that they do the same work.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from faster_rcnn.config.loading import load_config
from faster_rcnn.config.recipes import find_recipes, net_settings
from faster_rcnn.config.settings import Config
from faster_rcnn.datasets.loading.batches import Batch
from faster_rcnn.datasets.loading.masks import pack_polygons
from faster_rcnn.layer_utils.structures import GroundTruth, Images
from faster_rcnn.model.build import build_detector
from faster_rcnn.model.heads.box_head import BoxHead
from faster_rcnn.model.heads.cascade_head import CascadeHead
from faster_rcnn.model.network import Network
from faster_rcnn.model.one_stage import OneStage
from faster_rcnn.model.retina_head import RetinaHead
from faster_rcnn.model.two_stage import TwoStage
from faster_rcnn.utils.device import seed_everything
from torch import Tensor, nn
from torchvision.models import resnet101, vgg16
from torchvision.models.detection import FasterRCNN
from torchvision.ops import FrozenBatchNorm2d
from torchvision_parts import PeerPredictor, PeerRPNHead
from torchvision_peer import (
    CONVENTION,
    RETINANET,
    TRAINING,
    Peer,
    build_peer,
    copy_weights,
)

MODELS = ("res50", "res101", "vgg16", "res50_fpn", "mobile_v2")
ROIS = {"fpn": (512, 1000)}
"""RoIs per image in training and proposals in tests; of all others 128 and 300."""


@dataclass(frozen=True)
class Work:
    """A piece of work, independent of the implementation.

    Attributes:
        model: NET of the command line.
        phase: ``train`` or ``infer``.
        size: height and width of the images.
        batch: number of images.
        rois: RoIs per image in training, and proposals in tests; if None, as
            published for the kind of network.
        classes: number of classes without background.
        objects: ground-truth boxes per image.
        settings: additional settings, ``SECTION.KEY, value`` pairs, flattened.
    """

    model: str
    phase: str = "train"
    size: tuple[int, int] = (600, 800)
    batch: int = 1
    rois: tuple[int, int] | None = None
    classes: int = 80
    objects: int = 8
    settings: tuple[str, ...] = ()

    def config(self) -> Config:
        """Return the network's recipe for COCO, with torchvision's conventions.

        Raises:
            ValueError: unknown net, key or value.
        """
        given = net_settings(self.model)
        usual = next((ROIS[word] for word in given if word in ROIS), (128, 300))
        train, test = self.rois or usual
        counts = {
            "rpn.train_post_nms": 2000,
            "rpn.test_post_nms": test,
            "head.rois_per_image": train,
            "train.batch_size": self.batch,
            "train.lr": 1e-12,  # every step has the same weights
        }
        words = [str(word) for pair in counts.items() for word in pair]
        return load_config(
            find_recipes("coco", self.model),
            [*given, *CONVENTION, *TRAINING, *RETINANET, *words, *self.settings],
        )


def draw_batch(work: Work, config: Config) -> Batch:
    """Generate images of blocks with random objects, padded as by the loader."""
    (height, width), images = work.size, work.batch
    generator = torch.Generator().manual_seed(0)
    blocks_of = (images, 3, -(-height // 8), -(-width // 8))
    coarse = torch.randint(0, 256, blocks_of, generator=generator, dtype=torch.uint8)
    blocks = coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)
    multiple = config.data.size_multiple
    padded = [-(-side // multiple) * multiple for side in work.size]
    pixels = torch.zeros(images, 3, *padded, dtype=torch.uint8)
    pixels[:, :, :height, :width] = blocks[:, :, :height, :width]
    shape = (images, work.objects, 2)
    sides = min(work.size) * (0.05 + 0.25 * torch.rand(shape, generator=generator))
    room = torch.tensor([width, height]) - sides
    corners = room * torch.rand(shape, generator=generator)
    classes = torch.randint(1, work.classes + 1, shape[:2], generator=generator)
    # As in the loader, the number of ground-truth slots is a power of two.
    slots = max(8, 1 << (work.objects - 1).bit_length())
    boxes = torch.zeros(images, slots, 4)
    boxes[:, : work.objects] = torch.cat((corners, corners + sides), 2)
    labels = torch.zeros(images, slots, dtype=torch.int64)
    labels[:, : work.objects] = classes
    sizes = torch.tensor([work.size] * images)
    truth = GroundTruth(boxes, labels, valid=labels > 0)
    if config.mask.enabled:
        outlines = [[(_octagon(box),) for box in b[: work.objects]] for b in boxes]
        truth = truth._replace(masks=pack_polygons(outlines, slots=slots))
    return Batch(
        images=Images(pixels, sizes, padded=tuple(padded) != tuple(work.size)),
        ground_truth=truth,
        scales=torch.ones(images),
        original_sizes=sizes,
        image_ids=tuple(map(str, range(images))),
    )


def _octagon(box: Tensor) -> npt.NDArray[np.float32]:
    """Return the eight vertices ``(8, 2)`` of an object that fills its box."""
    angles = np.arange(8) * (np.pi / 4)
    around = np.stack((np.cos(angles), np.sin(angles)), 1)
    corner, side = box[:2].numpy(), (box[2:] - box[:2]).numpy()
    return np.asarray(corner + side * (1 + around) / 2, np.float32)


def build_ours(work: Work, config: Config) -> Network:
    """Build our detector with random weights that make it behave like a trained one.

    The last norm of each residual branch is small, because activations would otherwise
    double from block to block. Outputs are scaled, so that there are boxes to suppress.
    """
    seed_everything(config.train.seed)
    model = build_detector(config, work.classes + 1)
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight"):
            parameter.data.fill_(0.2)
    small = Work(work.model, size=(128, 160), classes=work.classes)
    _spread(model.eval(), draw_batch(small, config))
    return model


@torch.no_grad()
def _spread(model: Network, batch: Batch) -> None:
    """Scale the output layers: logits to a deviation of 2, deltas to 0.3 and 1."""
    features = model.features(batch.images)
    if isinstance(model, OneStage):
        assert isinstance(model.dense_head, RetinaHead)
        dense, output = model.dense_head.predictor, model.dense_head(features)
        dense.scores.weight *= 1 / output.class_logits.std()  # and a bias of -4.6
        dense.deltas.weight *= 0.3 / output.pred_deltas.std()
        return
    assert isinstance(model, TwoStage)
    head, classifier = model.rpn.head, model.classifier
    head.scores.weight *= 2 / model.rpn(features).objectness_logits.std()
    head.deltas.weight *= 0.3 / model.rpn(features).pred_deltas.std()
    proposals = model.rpn.propose(model.rpn(features), batch.images.sizes)
    if isinstance(classifier, CascadeHead):
        stages = classifier.box_heads
    else:
        assert isinstance(classifier, BoxHead)
        stages = [classifier]
    for stage in stages:
        logits, deltas = stage(features, proposals.boxes)
        stage.predictor.scores.weight *= 2 / logits.std()
        stage.predictor.deltas.weight *= 1 / deltas.std()


def build_torchvision(
    work: Work, config: Config, memory_format: torch.memory_format
) -> Peer:
    """Build torchvision's detector for the same recipe, with the same weights.

    `torchvision_peer` supports some networks; ResNet-101 and VGG16 are added here.

    Raises:
        ValueError: torchvision's parts do not support the network.
    """
    name, kind = config.net.name, config.net.features
    peer_of = config
    if kind == "c4" and name in ("res101", "vgg16"):
        net = config.net.model_copy(update={"name": "res50"})
        peer_of = config.model_copy(update={"net": net})
    peer = build_peer(peer_of, work.classes + 1, memory_format=memory_format)
    if kind == "c4" and name == "res101":
        # It differs from ResNet-50 only in layer3.
        peer.backbone.layer3 = resnet101(norm_layer=FrozenBatchNorm2d).layer3
    elif kind == "c4" and name == "vgg16":
        assert isinstance(peer, FasterRCNN)
        _put_vgg16(peer, work, config)
    ours = build_ours(work, config)
    copy_weights(ours, peer)
    return peer.to(memory_format=memory_format)


class _Body(nn.Module):
    """VGG16 up to conv5_3, in float32 also under autocast."""

    out_channels = 512

    def __init__(self, features: nn.Sequential, fixed_blocks: int) -> None:
        super().__init__()
        self.features = features[:30]
        pools = [i for i, m in enumerate(self.features) if isinstance(m, nn.MaxPool2d)]
        fixed = pools[fixed_blocks - 1] if fixed_blocks else 0
        self.features[:fixed].requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.features(images)
        return features.float()


class _Tail(nn.Module):
    """VGG16's fc6 and fc7 on the maxima of pooled regions."""

    def __init__(self, classifier: nn.Sequential, *, max_pool: bool) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if max_pool else nn.Identity()
        self.classifier = classifier[:6]

    def forward(self, pooled: Tensor) -> Tensor:
        vectors: Tensor = self.classifier(self.pool(pooled).flatten(1))
        return vectors


def _put_vgg16(peer: FasterRCNN, work: Work, config: Config) -> None:
    net = vgg16(dropout=config.net.dropout)
    fixed = config.net.fixed_blocks
    peer.backbone = _Body(net.features, 2 if fixed is None else int(fixed))
    anchors = peer.rpn.anchor_generator.num_anchors_per_location()[0]
    peer.rpn.head = PeerRPNHead(512, config.rpn.channels, anchors)
    peer.roi_heads.box_head = _Tail(net.classifier, max_pool=config.pooling.max_pool)
    peer.roi_heads.box_predictor = PeerPredictor(4096, work.classes + 1)
    if config.pooling.max_pool:
        side = 2 * config.pooling.size
        peer.roi_heads.box_roi_pool.output_size = (side, side)
