"""Data sets, and what becomes of their images."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from .section import Count, Positive, Section, Share, Whole


class DataConfig(Section):
    """Data sets and what becomes of an image before the network."""

    root: Path = Path("data")
    """Folder that holds VOCdevkit/, coco/ and shapes/."""
    train_set: str = "voc_2007_trainval"
    test_set: str = "voc_2007_test"
    val_set: str | None = None
    """What is measured during training (``train.validate_every``): a set's name, or the
    path of a folder, of which it is the split val. The command line names the folder
    that is trained on, where that has one."""
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
