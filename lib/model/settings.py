"""Every setting of a run: its name, type, unit, default and meaning.

The defaults are those of tf-faster-rcnn for VOC 2007. Recipes and command lines
override them; ``config.py`` reads those.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

NET_NAMES = (
    "vgg16",
    "res18",
    "res34",
    "res50",
    "res101",
    "res152",
    "resx101",
    "mobile",
    "mobile_v2",
    "mobile_v3",
)

FEATURE_KINDS = ("c4", "dc5", "fpn")


def split_net(net: str) -> tuple[str, str]:
    """Backbone and features of a NET of the command line: ``res50_fpn``, ``res50``.

    Raises:
        ValueError: there is none such; the message names the nearest.
    """
    known = {
        f"{name}_{kind}": (name, kind) for name in NET_NAMES for kind in FEATURE_KINDS
    }
    known |= {name: (name, "c4") for name in NET_NAMES}
    if net not in known:
        near = difflib.get_close_matches(net, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(
            f"expected one of {', '.join(NET_NAMES)}, or one of them with _fpn or "
            f"_dc5 behind; found {net!r}{hint}"
        )
    return known[net]


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """Settings that belong together; unknown keys and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python takes True for 1.
        assert info.field_name is not None
        if isinstance(value, bool):
            annotation = cls.model_fields[info.field_name].annotation
            if annotation is not bool:
                raise ValueError("expected no true or false here")
        return value


class NetConfig(Section):
    """The backbone and where its first weights come from."""

    name: Literal[NET_NAMES] = "res101"  # type: ignore[valid-type]
    features: Literal[FEATURE_KINDS] = "c4"  # type: ignore[valid-type]
    """What is taken of the backbone: the map at stride 16, what follows being the
    head (c4); the last map, at stride 16 by dilation (dc5); or a pyramid of the maps at
    strides 4 to 32 (fpn). NET names it behind the backbone: res50_fpn."""
    fpn_channels: Count = 256
    """Of every map of the pyramid."""
    fpn_norm: Literal["none", "batch"] = "none"
    """What follows the pyramid's convolutions."""
    modules: Literal["both", "rpn", "fast_rcnn"] = "both"
    """Of the two modules (Faster R-CNN, section 3), both, or one alone: the region
    proposal network, or the Fast R-CNN detector on proposals of a file
    (``data.proposals``). docs/proposals.md"""
    weights: str = "imagenet"
    """``imagenet`` (torchvision's), ``none`` (random), a name of docs/zoo.md, or a
    file's path."""
    normalisation: Literal["auto", "torchvision", "caffe", "detectron2"] = "auto"
    """Input the weights expect; ``auto``: what is recorded with the weights, or can be
    told from them. Any other value must agree with that, or is an error."""
    style: Literal["pytorch", "caffe"] = "pytorch"
    """Which ResNet the weights are of: stride in the 3x3 convolution (torchvision), or
    in the 1x1 (Caffe). Other nets have one form only."""
    norm: Literal["auto", "frozen", "batch"] = "auto"
    """Batch normalisation: ``auto`` freezes it unless the weights are random."""
    fixed_blocks: Whole | None = None
    """Leading blocks that are not trained; null: as many as the family fixes. With
    random weights all are trained."""
    fixed_trunk: bool = False
    """Train neither trunk nor pyramid, which the two modules share (section 3.2, steps
    3 and 4); needs weights."""
    head_stride: Literal[1, 2] = 1
    """Stride of the stage that serves as head (ResNet conv5)."""
    dropout: Share = 0.5
    """After fc6 and fc7 of VGG16."""

    @property
    def full_name(self) -> str:
        """As NET on the command line: ``res50``, ``res50_fpn``."""
        return self.name if self.features == "c4" else f"{self.name}_{self.features}"


class AnchorConfig(Section):
    """Anchors (Faster R-CNN, section 3.1.1)."""

    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (8, 16, 32)
    """Sides in units of the stride (16 px; with FPN, that of each level)."""
    sizes: tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...] | None = (
        None
    )
    """Sides in pixels in place of ``scales``: a list for each level, finest first, or a
    single one for all."""
    ratios: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.5, 1, 2)
    """Height divided by width."""
    centre: Literal["cell", "corner"] = "cell"
    """Where a cell's anchors lie: around its middle, or around its top left corner as
    in torchvision and Detectron2."""
    rounding: Literal["auto", "none", "sides", "corners"] = "auto"
    """What is whole pixels: the sides of each ratio before scaling (py-faster-rcnn),
    the final corners (torchvision), or nothing. ``auto``: sides if legacy."""

    @model_validator(mode="after")
    def _as_many_each(self) -> "AnchorConfig":
        if self.sizes is not None and len({len(sides) for sides in self.sizes}) != 1:
            raise ValueError(
                "sizes must give every level as many anchors; found "
                f"{[list(sides) for sides in self.sizes]}"
            )
        return self

    def level_scales(self, strides: Sequence[int]) -> list[tuple[float, ...]]:
        """Sides in units of the stride, for each level.

        Raises:
            ValueError: ``sizes`` are of another number of levels.
        """
        if self.sizes is None:
            return [self.scales] * len(strides)
        sizes = self.sizes * len(strides) if len(self.sizes) == 1 else self.sizes
        if len(sizes) != len(strides):
            raise ValueError(
                f"anchors.sizes: expected one list, or one for each of the "
                f"{len(strides)} levels at strides {', '.join(map(str, strides))}; "
                f"found {len(sizes)}"
            )
        return [
            tuple(side / stride for side in sides)
            for sides, stride in zip(sizes, strides, strict=True)
        ]


class BoxConfig(Section):
    """What a box measures, and how regression targets are scaled."""

    offset: Literal[0, 1] = 1
    """1: legacy boxes, width x2 - x1 + 1; 0: continuous boxes, width x2 - x1."""
    nms_offset: Literal[0, 1] = 0
    """The same, inside suppression only (the PyTorch port uses 0 there)."""
    nms_inclusive: bool = False
    """Suppress at an IoU equal to the threshold too (tf-faster-rcnn's CPU kernel)."""
    delta_std: tuple[Positive, Positive, Positive, Positive] = (0.1, 0.1, 0.2, 0.2)
    """The head's targets dx, dy, dw, dh are divided by these."""
    max_log_size: Positive | None = None
    """Upper limit of predicted dw, dh in RPN and head; none in the family."""


class RPNConfig(Section):
    """Region proposal network (section 3.1)."""

    channels: Count = 512
    convs: Count = 1
    """3x3 convolutions before the output layers."""
    batch_size: Count = 256
    """Labelled anchors per image."""
    fg_fraction: Share = 0.5
    positive_overlap: Share = 0.7
    negative_overlap: Share = 0.3
    clobber_positives: bool = False
    """An anchor whose best overlap is below ``negative_overlap`` is negative even if it
    is the best one of some object."""
    crowd_overlap: Share | None = None
    """Share of an anchor's area in a crowd (COCO) above which it is not negative; null:
    crowds do not matter, as in the family."""
    positive_weight: Share | None = None
    """Weight of all positives together in the box loss, p / positives for each; null:
    1 / labelled anchors for each, as in the family's recipes (-1 there)."""
    border: float = 0
    """Pixels by which a training anchor may leave the image; negative: no limit."""
    sigma: Positive = 3
    """Of the smooth L1."""
    nms_threshold: Share = 0.7
    score_threshold: Share = 0
    """Least probability of a proposal."""
    train_pre_nms: Count = 12000
    """Boxes before suppression, with FPN on each level; likewise in tests."""
    train_post_nms: Count = 2000
    test_mode: Literal["nms", "top"] = "nms"
    """Test proposals by suppression, or simply the ``test_top`` best."""
    test_pre_nms: Count = 6000
    test_post_nms: Count = 300
    test_top: Count = 5000
    min_size: float = Field(default=0, ge=0)
    """Least side of a proposal, in pixels of the network input."""


class PoolingConfig(Section):
    """RoI pooling."""

    mode: Literal["align", "pool", "crop", "crop_stn"] = "align"
    """RoIAlign, RoI max pooling, TensorFlow's crop_and_resize, or the affine grid of
    the first PyTorch ports."""
    size: Count = 7
    """Cells per side."""
    sampling_ratio: Whole = 0
    """RoIAlign's samples per cell and side; 0: adaptive."""
    aligned: bool = False
    """RoIAlign's shift by half a cell."""
    max_pool: bool = False
    """Pool to twice the size, then 2x2 maxima."""
    box_gradient: bool = False
    """Let the head's losses reach the proposals' coordinates (DenseCap, section 3.3);
    not with mode ``pool``, which is not differentiable in them."""

    @model_validator(mode="after")
    def _differentiable(self) -> "PoolingConfig":
        if self.box_gradient and self.mode == "pool":
            raise ValueError(
                "box_gradient needs a bilinear mode (align, crop or crop_stn); RoI max "
                "pooling has no gradient in the coordinates"
            )
        return self


class HeadConfig(Section):
    """Fast R-CNN head (Fast R-CNN, section 2.3)."""

    rois_per_image: Count = 256
    fg_fraction: Share = 0.25
    fg_overlap: Share = 0.5
    bg_overlap_high: Share = 0.5
    bg_overlap_low: Share = 0
    crowd_overlap: Share | None = None
    """Share of a RoI's area in a crowd (COCO) above which it is not background; null:
    crowds do not matter. Detectron: 0.7."""
    add_ground_truth: bool = False
    """Whether ground-truth boxes join the proposals in training."""
    replacement: bool = True
    """Fill up by drawing RoIs again where there are too few."""
    class_agnostic: bool = False
    """One box per RoI, shared by all classes, instead of one per class."""
    convs: Whole = 0
    """3x3 convolutions on each region, where no stage of the backbone is the head (dc5,
    fpn), as all that follows but for sigma."""
    conv_channels: Count = 256
    fcs: Whole = 2
    """Hidden fully connected layers."""
    fc_channels: Count = 1024
    norm: Literal["none", "batch", "group"] = "none"
    """Behind each of the convolutions; ``batch`` is over all processes if
    train.sync_bn is set."""
    sigma: Positive = 1
    """Of the smooth L1."""


class DataConfig(Section):
    """Data sets and what becomes of an image before the network."""

    root: Path = Path("data")
    """Folder that holds VOCdevkit/, coco/ and shapes/."""
    train_set: str = "voc_2007_trainval"
    test_set: str = "voc_2007_test"
    val_set: str | None = None
    """What is measured during training (``train.validate_every``): a set's name, or the
    path of a folder, of which it is the set that a test would take."""
    proposals: str | None = None
    """File with proposals of the training images, for Fast R-CNN alone; those of the
    best scores are taken, up to ``rpn.train_post_nms`` of each image."""
    test_proposals: str | None = None
    """The same of the test images, up to ``rpn.test_post_nms`` of each."""
    val_proposals: str | None = None
    """The same of the images of ``val_set``."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the classes to learn, in order, among those of the data; objects of
    others are left out. null: all that the data has."""
    short_sides: Annotated[tuple[Count, ...], Field(min_length=1)] = (600,)
    """Training scales in pixels of the short side; one is drawn per batch."""
    long_side: Count = 1000
    """Cap of the long side in pixels."""
    test_short_side: Count = 600
    test_long_side: Count = 1000
    flip: bool = True
    colour_jitter: Share = 0
    """Largest relative change of brightness, contrast and saturation in training."""
    hue_jitter: Annotated[float, Field(ge=0, le=0.5)] = 0
    """Largest turn of the hue in training, as a part of the whole circle."""
    scale_jitter: tuple[Positive, Positive] | None = None
    """Range of a random factor on each training image's scale; what then exceeds the
    usual size is cut away. Large-scale jitter (Ghiasi et al. 2021): [0.1, 2]."""
    mosaic: Share = 0
    """Share of the training images that are put together from four (YOLOv4)."""
    min_visible: Share = 0.25
    """Least share of its area that scale jitter or mosaic has to leave of an object;
    what is cut away further is not trained on."""
    max_unreadable: Share = 0.5
    """Share of the training images that may be unreadable, and replaced by others,
    before training stops."""
    use_difficult: bool = False
    """Train on VOC's difficult objects too."""
    size_multiple: Count = 32
    """Padded height and width are multiples of this, so that few shapes occur."""
    workers: Whole = 2
    """Loader processes; 0 loads in the main one."""

    @model_validator(mode="after")
    def _range_rises(self) -> "DataConfig":
        if self.scale_jitter and self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(
                "scale_jitter must give the smaller factor first; found "
                f"{list(self.scale_jitter)}"
            )
        return self


class TrainConfig(Section):
    """Optimisation and what is logged and saved."""

    iterations: Count = 70000
    epochs: Positive | None = None
    """Length of the run in passes over the training images, in place of ``iterations``;
    lr_steps then keep their shares of the run. ``--iters`` outranks it."""
    batch_size: Count = 1
    """Images in one pass of one process. An update is made of the gradients of
    ``accumulate`` passes of each process."""
    accumulate: Count = 1
    """Passes of each process per update."""
    images_per_update: Count | None = None
    """Images whose mean loss an update minimises; null: batch_size x accumulate x
    processes. Given, or recorded by a run that is resumed, it stands, and however many
    processes there are share its passes."""
    reference_batch: Whole | None = None
    """Images per update that lr, iterations, lr_steps, warmup_iterations,
    snapshot_every, validate_every and ema are meant for. With k times as many, lr is
    multiplied by k, ema is raised to the power of k, and the others are divided by k
    (Goyal et al. 2017, section 2.1), but for those given on the command line. null or
    0: nothing is scaled."""
    sync_bn: bool = False
    """Normalise over the passes of all processes; matters only where batch
    normalisation is trained (``net.norm``)."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.001
    lr_steps: tuple[Count, ...] = (50000,)
    """Iterations after which the learning rate is multiplied by gamma."""
    lr_epochs: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """The same in epochs, in place of ``lr_steps``."""
    gamma: Share = 0.1
    schedule: Literal["step", "cosine", "polynomial"] = "step"
    power: Positive = 0.9
    """Of the polynomial, ``(1 - iteration / iterations) ** power``."""
    momentum: Share = 0.9
    """Of SGD; AdamW keeps its usual (0.9, 0.999)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    backbone_decay: float | None = Field(default=None, ge=0)
    """Weight decay of the backbone alone; null: as of the rest."""
    bias_decay: bool = False
    """Whether biases decay too."""
    double_bias: bool = False
    """Whether biases learn at twice the rate."""
    depthwise_decay: bool = True
    """Whether depthwise convolutions decay; not in the family's MobileNet."""
    warmup_iterations: Whole = 0
    warmup_factor: Share = 0.1
    """Learning rate at the first iteration, relative to ``lr``."""
    clip_norm: float = Field(default=0, ge=0)
    """Largest norm of the whole gradient; 0: no clipping."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0
    """Decay per update of the averaged weights, which validations and tests then use;
    0: none are kept."""
    validate_every: Whole = 0
    """Iterations between validations on ``data.val_set``; one more is at the end. 0:
    none. The best checkpoint is kept as best.pth."""
    validate_epochs: Positive | None = None
    """The same in epochs, in place of ``validate_every``."""
    best_by: Literal["ap", "loss"] = "ap"
    """What makes a validation the best: the largest headline AP, or the least loss."""
    patience: Whole = 0
    """Validations in a row without a new best after which training stops; 0: none."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """What an update does whose loss or gradient is not finite: ``stop`` the run, or
    ``skip`` the step, which leaves the weights as they are."""
    nonfinite_limit: Count = 10
    """Updates in a row that may be skipped before the run stops all the same."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 autocast where the hardware computes in it."""
    deterministic: bool = False
    """Only operators whose sums have a fixed order, as far as there are any; what has
    none is told of. On the CPU nothing else is ever used."""
    seed: Whole = 3
    log_every: Count = 20
    snapshot_every: Count = 5000
    snapshots_kept: Count = 3
    picture_every: Whole = 1000
    """Iterations between pictures in TensorBoard; 0: never."""
    histogram_every: Whole = 1000
    """Iterations between histograms in TensorBoard; 0: never."""
    trackers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Experiment trackers that get the curves beside TensorBoard."""

    @model_validator(mode="after")
    def _steps_rise(self) -> "TrainConfig":
        if list(self.lr_steps) != sorted(set(self.lr_steps)):
            raise ValueError(f"lr_steps must rise; found {list(self.lr_steps)}")
        if self.lr_epochs and list(self.lr_epochs) != sorted(set(self.lr_epochs)):
            raise ValueError(f"lr_epochs must rise; found {list(self.lr_epochs)}")
        return self


class TestConfig(Section):
    """Post-processing and evaluation."""

    __test__ = False  # not a test case, whatever its name suggests to pytest

    batch_size: Count = 1
    score_threshold: Share = 0
    min_size: float = Field(default=0, ge=0)
    """Least side of a detection, in pixels of the original image (torchvision: .01)."""
    nms_threshold: Share = 0.3
    detections_per_image: Count = 100
    suppression: Literal["nms", "soft_linear", "soft_gaussian", "weighted"] = "nms"
    """What becomes of boxes that overlap a better one of their class. ``nms``: dropped;
    ``soft_linear``, ``soft_gaussian``: they lose score (Soft-NMS, Bodla et al. 2017);
    ``weighted``: each view suppressed by nms, then the views' boxes of an object
    averaged (weighted boxes fusion, Solovyev et al. 2021)."""
    soft_threshold: Share = 0.3
    """IoU up to which linear Soft-NMS leaves scores alone (section 3 there: N_t)."""
    soft_sigma: Positive = 0.5
    """Width of Gaussian Soft-NMS, exp(-IoU^2 / sigma) (section 3 there)."""
    fusion_threshold: Share = 0.55
    """IoU above which views' boxes are of one object (section 3 of the fusion's paper:
    THR; 0.55 was best there)."""
    scales: tuple[Count, ...] = ()
    """Further short sides in pixels at which each test image is seen, beside
    ``data.test_short_side``; the cap of the long side grows in proportion."""
    flip: bool = False
    """See each test image mirrored too, at every scale."""
    pictures: Whole = 20
    """Test images drawn with their detections into the run folder."""
    picture_threshold: Share = 0.5
    """Least score of a detection that is drawn."""
    report: bool = True
    """Whether report.html and errors.json are left: a few seconds per test."""

    @field_validator("scales")
    @classmethod
    def _different(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(scales)) < len(scales):
            raise ValueError(
                f"scales must differ; found {list(scales)}: name each short side once"
            )
        return scales


class Config(Section):
    """Everything a run depends on."""

    net: NetConfig = NetConfig()
    anchors: AnchorConfig = AnchorConfig()
    boxes: BoxConfig = BoxConfig()
    rpn: RPNConfig = RPNConfig()
    pooling: PoolingConfig = PoolingConfig()
    head: HeadConfig = HeadConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    test: TestConfig = TestConfig()

    def to_yaml(self) -> str:
        """The whole configuration as YAML, keys in the order of the fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
