"""The masks and keypoints of a data set that a configuration trains on."""

from collections.abc import Collection
from typing import Literal, NamedTuple

from ..config.settings import Config
from .records import Dataset, KeypointNames, few

MaskKind = Literal["polygons", "bitmaps", "pasted"]


class Instances(NamedTuple):
    """What to load besides boxes."""

    # what masks become in a batch, polygons only if all are outlines; or "pasted" to
    # use them only to paste objects; None to leave them out
    masks: MaskKind | None = None
    # the keypoints of the records; None to leave them out
    keypoints: KeypointNames | None = None


def with_keypoints_of(
    dataset: Dataset, config: Config, given: Collection[str]
) -> Config:
    """Set ``keypoint.count`` to a data set's, unless the command line gives it."""
    if dataset.keypoints is None or "keypoint.count" in given:
        return config
    change = {"count": len(dataset.keypoints.names)}
    keypoint = config.keypoint.model_copy(update=change)
    return config.model_copy(update={"keypoint": keypoint})


def wanted_instances(dataset: Dataset, config: Config) -> Instances:
    """Return what the heads of a detector need of a data set.

    Raises:
        ValueError: the data set has no masks, or no or other keypoints.
    """
    masks: MaskKind | None = None
    place = _place(dataset)
    if config.mask.enabled:
        if not dataset.has_masks:
            raise ValueError(
                f"mask.enabled: expected masks to train on, found boxes alone in "
                f"{place}; add outlines or run lengths (COCO's segmentation), or train "
                "a NET without mask_"
            )
        masks = "polygons" if config.mask.targets == "polygon" else "bitmaps"
    if not config.keypoint.enabled:
        return Instances(masks)
    found, count = dataset.keypoints, config.keypoint.count
    if found is None:
        raise ValueError(
            f"keypoint.enabled: expected keypoints to train on, found none in {place}; "
            "add them (COCO's keypoints, and their names in its categories), or train "
            "a NET without keypoint_"
        )
    if len(found.names) != count:
        raise ValueError(
            f"keypoint.count: expected {count} keypoints, found {len(found.names)} in "
            f"{place}: {few(found.names)}; set keypoint.count {len(found.names)}"
        )
    return Instances(masks, found)


def training_instances(dataset: Dataset, config: Config) -> Instances:
    """Return what training needs of a data set: for the heads, and to paste objects.

    Raises:
        ValueError: see `wanted_instances`; or objects are to be pasted without masks.
    """
    wanted, data = wanted_instances(dataset, config), config.data
    if data.copy_paste and not dataset.has_masks:
        raise ValueError(
            f"data.copy_paste: expected masks to cut objects out by, found none in "
            f"{_place(dataset)}; add outlines or run lengths (COCO's segmentation), or "
            "set it to 0"
        )
    if wanted.masks is None:
        return wanted._replace(masks="pasted") if data.copy_paste else wanted
    if data.copy_paste or data.transforms:
        # Of a kind that does not depend on the batch.
        return wanted._replace(masks="bitmaps")
    return wanted


def _place(dataset: Dataset) -> str:
    if dataset.annotation_file is None:
        return dataset.name
    return f"{dataset.name} ({dataset.annotation_file})"
