"""Tests: views of an image, post-processing, evaluation."""

from typing import Literal

from pydantic import Field, field_validator

from .section import Count, Positive, Section, Share, Whole


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
