"""Tiny archives in the layout of the public ones, on a server of tests."""

import hashlib
import io
import tarfile
import zipfile

from faster_rcnn.datasets.archives import Archive
from faster_rcnn.datasets.download import ensure_downloaded


def tar_bytes(names):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            file.addfile(info, io.BytesIO(name.encode()))
    return stream.getvalue()


def zip_bytes(names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name in names:
            file.writestr(name, name)
    return stream.getvalue()


def voc_names(split, stem):
    folder = "VOCdevkit/VOC2007"
    return [
        f"{folder}/ImageSets/Main/{split}.txt",
        f"{folder}/Annotations/{stem}.xml",
        f"{folder}/JPEGImages/{stem}.jpg",
    ]


class World:
    """A server with tiny archives, and the table that leads there."""

    def __init__(self, server):
        self.server = server
        self.bytes = {
            "trainval.tar": tar_bytes(voc_names("trainval", "000001")),
            "test.tar": tar_bytes(voc_names("test", "000002")),
            "annotations.zip": zip_bytes(["annotations/instances_train2017.json"]),
            "train2017.zip": zip_bytes(["train2017/1.jpg", "train2017/2.jpg"]),
        }
        for name, data in self.bytes.items():
            server.files[f"/{name}"] = data
        main = "VOC2007/ImageSets/Main"
        self.archives = {
            "voc": (
                self.archive(
                    "trainval.tar", "voc", "VOCdevkit", f"{main}/trainval.txt"
                ),
                self.archive("test.tar", "voc", "VOCdevkit", f"{main}/test.txt"),
            ),
            "coco": (
                self.archive(
                    "annotations.zip",
                    "coco",
                    "",
                    "annotations/instances_train2017.json",
                ),
                self.archive("train2017.zip", "coco", "", "train2017"),
            ),
        }

    def archive(self, name, layout, inner, marker):
        data = self.bytes[name]
        return Archive(
            urls=(f"{self.server.url}/{name}", f"{self.server.url}/mirror/{name}"),
            size=len(data),
            md5=hashlib.md5(data).hexdigest(),
            layout=layout,
            inner=inner,
            marker=marker,
        )

    def ensure(self, word, root):
        ensure_downloaded(word, root, archives=self.archives, pause=0)


def files(folder):
    """Paths of the files below a folder but for locks, sorted."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return sorted(str(p.relative_to(folder)) for p in found)
