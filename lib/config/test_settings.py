"""Tests: views of an image, post-processing, evaluation."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from .section import Count, Positive, Section, Share, TileSide, Whole


class TestConfig(Section):
    """Post-processing and evaluation."""

    __test__ = False  # tell pytest that this is not a test case

    batch_size: Count = 1
    score_threshold: Share = 0
    class_thresholds: dict[str, Share] = Field(default={})
    """Score thresholds of some classes, by name, in place of ``score_threshold``."""
    min_size: float = Field(default=0, ge=0)
    """Least side of a detection in pixels of the original image (torchvision: .01)."""
    clip_first: bool = True
    """Clip boxes to the image before suppression; false: after it, as in Detectron2's
    RetinaNet."""
    nms_threshold: Share = 0.3
    detections_per_image: Count = 100
    max_detections: Count | None = None
    """Number of best detections of an image and class that COCO's AP and AR consider;
    null: COCO's 100, and 20 for keypoints. For images with more objects than that,
    raise ``detections_per_image`` too."""
    areas: tuple[Positive, Positive] = (32, 96)
    """Sides in pixels of the squares that separate the small, medium and large objects
    of COCO's APs, APm and APl."""
    suppression: Literal["nms", "soft_linear", "soft_gaussian", "weighted"] = "nms"
    """How to treat boxes that overlap a better one of their class. ``nms``: drop them;
    ``soft_linear``, ``soft_gaussian``: lower their scores (Soft-NMS, Bodla et al.
    2017); ``weighted``: suppress within each view by nms, then average the boxes of an
    object over the views (weighted boxes fusion, Solovyev et al. 2021)."""
    soft_threshold: Share = 0.3
    """IoU up to which linear Soft-NMS leaves scores unchanged (its section 3: N_t)."""
    soft_sigma: Positive = 0.5
    """Width of Gaussian Soft-NMS, exp(-IoU^2 / sigma) (its section 3)."""
    fusion_threshold: Share = 0.55
    """IoU above which boxes of different views are merged (section 3 of the fusion
    paper: THR; 0.55 was best there)."""
    scales: tuple[Count, ...] = ()
    """Additional short sides in pixels at which each test image is run, besides
    ``data.test_short_side``; the limit of the long side grows in proportion."""
    flip: bool = False
    """Run each test image mirrored too, at every scale."""
    tiles: TileSide | None = None
    """Sides in pixels of overlapping tiles, into which larger images are cut as stored.
    Each tile is resized like an image of its own, and what cuts an object is merged.
    null: images are not cut."""
    tile_overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    """Least share of its sides that a tile has in common with its neighbours. Objects
    up to this size are whole in a tile."""
    tile_whole: bool = True
    """Run the whole reduced image beside its tiles, for objects that are larger."""
    whole_pixel_masks: bool = False
    """Round boxes to whole pixels before masks are pasted into them, as torchvision."""
    pictures: Whole = 20
    """Number of test images drawn with their detections into the run folder."""
    picture_threshold: Share = 0.5
    """Lowest score of a detection that is drawn."""
    report: bool = True
    """Write report.html and errors.json: a few seconds per test."""

    @property
    def least_score(self) -> float:
        """Return the lowest score threshold of any class."""
        return min(self.score_threshold, *self.class_thresholds.values(), 1.0)

    @field_validator("areas")
    @classmethod
    def _ascending(cls, areas: tuple[float, float]) -> tuple[float, float]:
        if areas[0] >= areas[1]:
            raise ValueError(f"areas must ascend; found {list(areas)}")
        return areas

    @field_validator("scales")
    @classmethod
    def _different(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(scales)) < len(scales):
            raise ValueError(
                f"scales must differ; found {list(scales)}: give each short side once"
            )
        return scales
