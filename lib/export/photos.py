"""Find images to check an exported file on, and stack them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..datasets.loading.channels import Pixels, read_channels
from ..datasets.loading.images import IMAGE_SUFFIXES, read_image
from ..datasets.shapes_scene import draw_scene
from ..detector.about import About
from ..detector.export_error import ExportError
from ..detector.file_inputs import Inputs, make_inputs
from ..utils.drawing import Picture


def find_photos(folder: Path, count: int) -> list[Path]:
    """Choose at most ``count`` image files of a folder, spread evenly over their names.

    Raises:
        ExportError: there are none.
    """
    paths = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
    )
    if not paths:
        raise ExportError(
            f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none; "
            "name another folder"
        )
    return spread(paths, count)


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Choose at most ``count`` paths, spread evenly."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def drawn_pictures(count: int) -> list[Picture]:
    """Return scenes of drawn shapes, for lack of photos."""
    scenes = (draw_scene(np.random.default_rng([0, i])).pixels for i in range(count))
    return [
        np.ascontiguousarray(np.broadcast_to(p[..., None], (*p.shape, 3)))
        if p.ndim == 2
        else p[:, :, ::-1].copy()
        for p in scenes
    ]


def batches(
    pictures: Sequence[Picture | Path], about: About, *, batch: int = 1
) -> Iterator[Inputs]:
    """Load all images in batches that an exported detector accepts.

    Args:
        pictures: images, or their files.
        about: the file's facts.
        batch: images per batch if the file leaves it free; if not, the last batch is
            filled up with its last picture.
    """
    count = about.batch or batch
    for start in range(0, len(pictures), count):
        chosen = [_read(p, about.channels) for p in pictures[start : start + count]]
        if about.batch is not None:
            chosen += chosen[-1:] * (count - len(chosen))
        yield make_inputs(chosen, about)


def _read(picture: Picture | Path, channels: int | None) -> Pixels:
    if isinstance(picture, Path):
        if channels is None:
            return read_image(picture)
        return read_channels(picture, channels)
    if channels is None:
        return picture
    planes = picture.transpose(2, 0, 1)  # of a drawn one
    return np.asarray(
        np.resize(planes, (channels, *planes.shape[1:])).transpose(1, 2, 0)
    )
