"""Data sets, and the processing of their images."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from .section import Count, Positive, Section, Share, TileSide, Whole

LIBRARIES = ("torchvision.transforms.v2.", "albumentations.")
"""Where the names of ``data.transforms`` may begin in a recipe that comes with data."""


class DataConfig(Section):
    """Data sets, and the processing of images before the network."""

    root: Path = Path("data")
    """Folder that holds VOCdevkit/, coco/ and shapes/."""
    train_set: str = "voc_2007_trainval"
    test_set: str = "voc_2007_test"
    val_set: str | None = None
    """Data set for validation during training (``train.validate_every``): the name of a
    set, or the path of a folder whose split val is used. The command line sets it to
    the training folder if that has a split val."""
    split: str | None = None
    """Shares of training, validation and test images, such as 0.8/0.1/0.1, for folders
    whose images nobody has split; null: 0.8/0.2/0, or an earlier choice."""
    proposals: str | None = None
    """File with proposals of the training images, for Fast R-CNN alone. The best are
    used, up to ``rpn.train_post_nms`` per image."""
    test_proposals: str | None = None
    """File with proposals of the test images, up to ``rpn.test_post_nms`` per image."""
    val_proposals: str | None = None
    """File with proposals of the images of ``val_set``."""
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Names of the classes to learn, in order, out of those in the data; objects of
    other classes are ignored. null: all classes of the data."""
    repeat_threshold: Share | None = None
    """Draw images with rare classes more often: a class in less than this share of the
    images (f) has the factor sqrt(threshold / f), and an image the largest of its
    classes' factors (LVIS: 0.001). null: draw every image once per epoch."""
    set_shares: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """Proportions in which training draws from the joined sets of ``train_set``, such
    as [3, 1]. null: by their numbers of images."""
    short_sides: Annotated[tuple[Count, ...], Field(min_length=1)] = (600,)
    """Training scales: lengths of the short side in pixels; one is drawn per batch."""
    long_side: Count = 1000
    """Upper limit of the long side in pixels."""
    test_short_side: Count = 600
    test_long_side: Count = 1000
    flip: bool = True
    """Mirror half of the training images left to right."""
    vertical_flip: bool = False
    """Mirror half of the training images top to bottom."""
    rotate90: bool = False
    """Turn training images by a random multiple of 90 degrees."""
    colour_jitter: Share = 0
    """Largest relative change of brightness, contrast and saturation in training."""
    hue_jitter: Annotated[float, Field(ge=0, le=0.5)] = 0
    """Largest shift of the hue in training, as a fraction of the full circle."""
    scale_jitter: tuple[Positive, Positive] | None = None
    """Range of a random factor on the scale of each training image; pixels beyond the
    usual size are cropped. Large-scale jitter (Ghiasi et al. 2021): [0.1, 2]."""
    mosaic: Share = 0
    """Share of the training images that are mosaics of four images (YOLOv4)."""
    crop: TileSide | None = None
    """Sides in pixels of the crops to train on of larger images, at random places. A
    crop is resized like an image of its own: ``test.tiles`` in training. null: whole
    images."""
    crop_around: Share = 0.8
    """Share of the crops that contain an object drawn at random; others are anywhere,
    also on plain background."""
    copy_paste: Share = 0
    """Share of the training images that get objects of another image, cut out by their
    masks (Ghiasi et al. 2021)."""
    transforms: tuple[
        str | Annotated[dict[str, dict[str, Any]], Field(min_length=1, max_length=1)],
        ...,
    ] = ()
    """Further transforms of training images as stored, before those above: dotted names
    of torchvision.transforms.v2 or albumentations, or of functions that return such,
    alone or with arguments, such as [torchvision.transforms.v2.RandomRotation:
    {degrees: 10}]."""
    min_visible: Share = 0.25
    """Least share of an object's area that must remain after scale jitter, mosaic, crop
    or transforms; objects cut further are not trained on, and count as crowd regions
    where these are not background (``rpn.crowd_overlap``, ``head.crowd_overlap``)."""
    max_unreadable: Share = 0.5
    """Share of the training images that may be unreadable, and are replaced by others,
    before training stops."""
    use_difficult: bool = False
    """Train on VOC's difficult objects too."""
    reduced_decoding: bool = True
    """Decode JPEGs at 1/2, 1/4 or 1/8 of their size where that leaves at least the
    pixels of the network input: less time and memory, and no aliasing."""
    size_multiple: Count = 32
    """Padded height and width are multiples of this, so that shapes repeat."""
    workers: Whole = 2
    """Loader processes; 0 loads in the main process."""

    @model_validator(mode="after")
    def _proposals_stay(self) -> "DataConfig":
        if self.proposals and (self.transforms or self.copy_paste):
            raise ValueError(
                "data.transforms and data.copy_paste do not move the boxes of "
                "data.proposals; leave out the one or the other"
            )
        return self

    @model_validator(mode="after")
    def _range_rises(self) -> "DataConfig":
        if self.scale_jitter and self.scale_jitter[0] > self.scale_jitter[1]:
            raise ValueError(
                "scale_jitter must be in rising order, smaller factor first; found "
                f"{list(self.scale_jitter)}"
            )
        return self
