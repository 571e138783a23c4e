"""Metadata of an exported file, so that callers can prepare images for it."""

import dataclasses
import json
from typing import Any, ClassVar, NamedTuple

import torch

from ..config.loading import load_config
from ..config.settings import Config
from ..datasets.records import KeypointNames
from .export_error import ExportError

LEAST_SIDE = 65
"""Least H and W: with a pyramid, more than one cell of the coarsest map."""


MULTIPLE = 32
"""Free H and W are multiples of this, whatever ``data.size_multiple``.

It is the stride of a backbone's coarsest map: the maps of a pyramid then fit onto each
other, and no pool leaves a remainder, which PyTorch before 2.14 cannot trace.
"""


class Shape(NamedTuple):
    """The dimensions of the inputs that are fixed.

    Attributes:
        batch: N; None for any.
        size: H and W; None for any that are multiples of ``multiple``.
        multiple: divisor of H and W, where they are free.
        padded: whether images may be smaller than H x W. If not, no masks are computed.
        channels: channels of float32 images; None for uint8 RGB.
    """

    batch: int | None = None
    size: tuple[int, int] | None = None
    multiple: int = MULTIPLE
    padded: bool = True
    channels: int | None = None

    @property
    def least(self) -> int:
        """Return the least H and W where they are free.

        It is more than one cell of every map: PyTorch's graphs treat 1 as a special
        case. The multiple is at least the coarsest stride.
        """
        return max(-(-LEAST_SIDE // self.multiple), 2) * self.multiple


@dataclasses.dataclass(frozen=True)
class About:
    """Facts of an exported detector, stored in its file as JSON.

    Attributes:
        kind: ``program``, ``aoti``, ``onnx`` or ``openvino``.
        classes: names, background first.
        short_side: pixels that the shorter side of an image is resized to.
        long_side: cap of the longer side in pixels.
        multiple: H and W of the input are multiples of this.
        batch: N; None for any.
        size: H and W; None for any.
        padded: whether images may be smaller than H x W.
        precision: what the network computes in: float32, bfloat16 or int8.
        device: that a file of PyTorch's runs on.
        score_threshold: least score of the boxes that come out.
        outputs: names of what comes out, fields of ``Detections``.
        pasted: whether masks are those of the original images.
        whole_pixel_masks: whether boxes are rounded where masks are pasted into them.
        keypoints: names of the keypoints; None without any.
        channels: channels of float32 images as stored; None for uint8 RGB.
    """

    KEY: ClassVar[str] = "faster_rcnn.json"
    RT_INFO: ClassVar[list[str]] = ["framework", KEY]
    """The key in OpenVINO, which puts an ONNX file's metadata under its framework."""

    kind: str
    classes: tuple[str, ...]
    short_side: int
    long_side: int
    multiple: int
    batch: int | None
    size: tuple[int, int] | None
    padded: bool
    precision: str
    device: str
    score_threshold: float
    outputs: tuple[str, ...] = ("boxes", "scores", "classes", "valid")
    pasted: bool = False
    whole_pixel_masks: bool = False
    keypoints: KeypointNames | None = None
    channels: int | None = None

    @classmethod
    def of(
        cls,
        kind: str,
        config: Config,
        classes: tuple[str, ...],
        shape: Shape,
        *,
        precision: str = "float32",
        device: str = "cpu",
        pasted: bool = False,
        keypoints: KeypointNames | None = None,
    ) -> "About":
        """Return the facts of a configuration's detector."""
        return cls(
            kind=kind,
            classes=classes,
            short_side=config.data.test_short_side,
            long_side=config.data.test_long_side,
            precision=precision,
            device=device,
            score_threshold=config.test.least_score,
            outputs=(
                *("boxes", "scores", "classes", "valid"),
                *(["masks"] if config.mask.enabled else []),
                *(["keypoints"] if config.keypoint.enabled else []),
            ),
            pasted=pasted,
            whole_pixel_masks=config.test.whole_pixel_masks,
            keypoints=keypoints,
            **shape._asdict(),
        )

    @property
    def shape(self) -> Shape:
        """Return which dimensions of the inputs are fixed."""
        return Shape(self.batch, self.size, self.multiple, self.padded, self.channels)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of what is neither int8 nor a box."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    def expect_options(self, **given: Any) -> None:
        """Check that a caller asks for nothing that the file is not.

        Raises:
            ExportError: it is fixed otherwise.
        """
        own = {"device": self.device, "precision": self.precision}
        for name, value in given.items():
            if value and value not in ("auto", own.get(name)):
                found = f"{name} {value}"
                raise ExportError(
                    f"an exported file is fixed ({self.kind}, {self.precision}, on "
                    f"{self.device}), found {found}; leave it out, or load the "
                    "checkpoint"
                )

    def config(self) -> Config:
        """Return the settings that the facts imply; the others are the defaults."""
        settings = {
            "data.test_short_side": self.short_side,
            "data.test_long_side": self.long_side,
            "data.size_multiple": self.multiple,
            "test.score_threshold": self.score_threshold,
            "test.batch_size": self.batch or 1,
        }
        words = [str(word) for pair in settings.items() for word in pair]
        return load_config((), words)

    def to_json(self) -> str:
        """Return the facts as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str, *, source: object) -> "About":
        """Read the facts back.

        Raises:
            ExportError: the text is something else.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            size = values["size"]
            values["size"] = None if size is None else (int(size[0]), int(size[1]))
            names = values.get("keypoints")
            if names is not None:
                pairs = ("flip_pairs", "skeleton")
                values["keypoints"] = KeypointNames(
                    tuple(names["names"]),
                    *(tuple((int(a), int(b)) for a, b in names[k]) for k in pairs),
                )
            outputs = values.get("outputs", cls.outputs)
            lists = {"classes": tuple(values["classes"]), "outputs": tuple(outputs)}
            return cls(**values | lists)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ExportError(
                f"{source}: expected a file that frcnn export wrote, found no facts "
                f"of a detector in it ({error!r}); export it again"
            ) from error
