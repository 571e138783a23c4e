"""The archives of the public data sets: addresses and content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .folders import coco_folder, devkit_folder


@dataclass(frozen=True, slots=True)
class Archive:
    """A file to download and unpack."""

    urls: tuple[str, ...]  # the official address, then mirrors of the same bytes
    size: int  # size of the archive in bytes
    md5: str  # MD5 digest of the archive, in hexadecimal
    # layout of the data set; decides which folder receives the content
    layout: Literal["voc", "coco"]
    inner: str  # folder in the archive whose content is installed; "" for all of it
    # path below ``inner`` that is installed last: if it exists, all files do
    marker: str
    # bytes on disk per byte of the archive. Photos do not compress, but the last block
    # of each file is partly empty.
    growth: float = 1.05

    @property
    def name(self) -> str:
        """Return the name of the archive's file."""
        return self.urls[0].rsplit("/", 1)[-1]

    @property
    def unpacked(self) -> int:
        """Return the size of the unpacked content in bytes, with a margin."""
        return int(self.size * self.growth)

    def home(self, root: Path) -> Path:
        """Return the folder that receives the content, below the data root."""
        return devkit_folder(root) if self.layout == "voc" else coco_folder(root)

    def is_there(self, root: Path) -> bool:
        """Return whether the content is installed below the data root."""
        return (self.home(root) / self.marker).exists()


def _voc(split: str, day: str, size: int, md5: str) -> Archive:
    year, name = day[-4:], f"VOC{split}_{day}.tar"
    return Archive(
        urls=(
            f"http://host.robots.ox.ac.uk/pascal/VOC/voc{year}/{name}",
            f"https://thor.robots.ox.ac.uk/pascal/VOC/voc{year}/{name}",
            f"https://data.pjreddie.com/files/{name}",
        ),
        size=size,
        md5=md5,
        layout="voc",
        inner="VOCdevkit",
        marker=f"VOC{year}/ImageSets/Main/{split}.txt",
    )


def _coco(
    path: str, size: int, md5: str, *, marker: str = "", growth: float = 1.05
) -> Archive:
    return Archive(
        urls=(
            f"http://images.cocodataset.org/{path}",
            f"https://s3.amazonaws.com/images.cocodataset.org/{path}",
        ),
        size=size,
        md5=md5,
        layout="coco",
        inner="",
        marker=marker or Path(path).stem,
        growth=growth,
    )


_VOC_2007 = (
    _voc("trainval", "06-Nov-2007", 460032000, "c52e279531787c972589f7e41ab4ae64"),
    _voc("test", "06-Nov-2007", 451020800, "b6e924de25625d8de591ea690078ad9f"),
)
_VOC_2012 = _voc(
    "trainval", "11-May-2012", 1999639040, "6cd6e144f989b92b3379bac3b3de84fd"
)
_COCO_2017 = (
    _coco(
        "annotations/annotations_trainval2017.zip",
        *(252907541, "f4bbac642086de4f52a3fdda2de5fa2c"),
        marker="annotations/instances_train2017.json",
        growth=3.5,  # text
    ),
    _coco("zips/val2017.zip", 815585330, "442b8da7639aecaf257c1dceb8ba8c80"),
    _coco("zips/train2017.zip", 19336861798, "cced6f7f71b7629ddf16f17bbcfab6b2"),
)

ARCHIVES: Mapping[str, Sequence[Archive]] = {
    "voc": _VOC_2007,
    "voc0712": (*_VOC_2007, _VOC_2012),
    "coco": _COCO_2017,
}
"""The archives that each word of the command line needs."""
