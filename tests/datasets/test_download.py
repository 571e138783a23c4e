import hashlib
import io
import tarfile
import zipfile

import pytest
from faster_rcnn.datasets import download
from faster_rcnn.datasets.download import (
    ARCHIVES,
    Archive,
    DownloadError,
    ensure_downloaded,
)


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


@pytest.fixture
def world(server):
    return World(server)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


VOC_FILES = sorted(voc_names("trainval", "000001") + voc_names("test", "000002"))


def test_voc(world, tmp_path):
    root = tmp_path / "data"
    world.ensure("voc", root)
    assert files(root) == VOC_FILES
    assert not list((root / "downloads").iterdir())
    world.server.requests.clear()
    world.ensure("voc", root)
    assert world.server.requests == []


def test_coco(world, tmp_path):
    world.ensure("coco", tmp_path)
    assert files(tmp_path) == [
        "coco/annotations/instances_train2017.json",
        "coco/train2017/1.jpg",
        "coco/train2017/2.jpg",
    ]


def test_root_that_is_a_devkit(world, tmp_path):
    place = tmp_path / "VOC2007" / "ImageSets" / "Main"
    place.mkdir(parents=True)
    (place / "trainval.txt").write_text("mine")
    world.ensure("voc", tmp_path)
    assert [path for path, _ in world.server.requests] == ["/test.tar"]
    assert (place / "trainval.txt").read_text() == "mine"
    assert (tmp_path / "VOC2007" / "JPEGImages" / "000002.jpg").is_file()


@pytest.mark.parametrize("word", ["shapes", "../some/folder"])
def test_words_that_need_nothing(tmp_path, word):
    ensure_downloaded(word, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_archive_put_there_by_hand_is_used_and_kept(world, tmp_path):
    place = tmp_path / "downloads"
    place.mkdir()
    for name in ("trainval.tar", "test.tar"):
        (place / name).write_bytes(world.bytes[name])
    world.ensure("voc", tmp_path)
    assert world.server.requests == []
    assert files(tmp_path / "VOCdevkit") == [n[len("VOCdevkit/") :] for n in VOC_FILES]
    assert files(place) == ["test.tar", "trainval.tar"]


@pytest.mark.parametrize("cut", [100, 0])
def test_wrong_archive_put_there_by_hand(world, tmp_path, cut):
    data = world.bytes["test.tar"]
    file = tmp_path / "downloads" / "test.tar"
    file.parent.mkdir()
    file.write_bytes(data[:-cut] if cut else b"x" + data[1:])
    with pytest.raises(
        DownloadError, match=r"test\.tar: expected .*delete it"
    ) as error:
        world.ensure("voc", tmp_path)
    assert "trainval.tar (" not in str(error.value)  # that one came
    file.unlink()
    world.ensure("voc", tmp_path)
    assert files(tmp_path) == VOC_FILES


def test_dropped_connections_and_mirror(world, tmp_path):
    world.server.drop_after = 4000
    world.server.files["/mirror/test.tar"] = world.server.files.pop("/test.tar")
    world.ensure("voc", tmp_path)
    assert files(tmp_path) == VOC_FILES


def test_interrupted_download_goes_on(world, tmp_path):
    world.server.drop_after = 0
    part = tmp_path / "downloads" / "trainval.tar.part"
    part.parent.mkdir()
    part.write_bytes(world.bytes["trainval.tar"][:5000])
    with pytest.raises(DownloadError):
        world.ensure("voc", tmp_path)
    assert part.stat().st_size == 5000
    world.server.drop_after = None
    world.server.requests.clear()
    world.ensure("voc", tmp_path)
    assert world.server.requests[0] == ("/trainval.tar", "bytes=5000-")
    assert files(tmp_path) == VOC_FILES


def test_interrupted_unpacking_leaves_no_trace(world, tmp_path, monkeypatch):
    merge = download._merge

    def interrupted(source, target):
        merge(source, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_merge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            world.ensure("voc", tmp_path)
    marker = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "trainval.txt"
    assert not marker.exists()
    assert not list(tmp_path.rglob(".unpacking-*"))
    world.server.stop()  # the archive is still there, whole
    with pytest.raises(DownloadError, match=r"test\.tar"):
        world.ensure("voc", tmp_path)
    assert marker.is_file()


def test_no_network_tells_what_to_do_by_hand(world, tmp_path):
    world.server.stop()
    with pytest.raises(DownloadError) as error:
        world.ensure("voc", tmp_path)
    text = str(error.value)
    for archive in world.archives["voc"]:
        assert f"{archive.name} (" in text and archive.md5 in text
        assert f"from {archive.urls[0]}\n      or {archive.urls[1]}\n" in text
        assert str(tmp_path / "downloads" / archive.name) in text
        assert str(tmp_path / "VOCdevkit" / archive.marker) in text
    assert "refused" in text and text.endswith("run the same command again.")


def test_not_found(world, tmp_path):
    world.server.files.clear()
    with pytest.raises(DownloadError, match=r"test\.tar: HTTP 404"):
        world.archives["voc"] = world.archives["voc"][1:]
        world.ensure("voc", tmp_path)


def test_archive_without_its_marker(world, tmp_path):
    archive = world.archive("test.tar", "voc", "VOCdevkit", "VOC2007/other.txt")
    world.archives["voc"] = (archive,)
    with pytest.raises(DownloadError, match=r"expected VOC2007/other\.txt in it"):
        world.ensure("voc", tmp_path)


def test_full_disk(world, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(DownloadError, match=r"voc: expected .* GB of free space"):
        world.ensure("voc", tmp_path)
    assert world.server.requests == []


def test_table_is_sound():
    assert set(ARCHIVES) == {"voc", "voc0712", "coco"}
    for archives in ARCHIVES.values():
        assert len({a.marker for a in archives}) == len(archives)
        for archive in archives:
            assert len(archive.md5) == 32 and int(archive.md5, 16)
            assert all(url.endswith(archive.name) for url in archive.urls)
            assert archive.name.endswith((".tar", ".zip")) and archive.size > 10**8
    # A tar archive is a whole number of blocks.
    assert all(a.size % 512 == 0 for a in ARCHIVES["voc0712"])


def test_real_devkit_needs_nothing(shared, tmp_path):
    mini = shared / "data" / "voc2007_mini"
    for root in (mini, mini / "VOCdevkit"):
        ensure_downloaded("voc", root)
