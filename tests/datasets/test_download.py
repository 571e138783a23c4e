import errno
import os
import shutil
import signal
import threading

import pytest
from faster_rcnn.datasets import download
from faster_rcnn.datasets.archives import ARCHIVES
from faster_rcnn.datasets.download import (
    DownloadError,
    ensure_downloaded,
    ensure_space,
    plan,
)
from tiny_archives import World, files, voc_names


@pytest.fixture
def world(server):
    return World(server)


VOC_FILES = sorted(voc_names("trainval", "000001") + voc_names("test", "000002"))


def test_voc(world, tmp_path):
    root = tmp_path / "data"
    world.ensure("voc", root)
    assert files(root) == VOC_FILES
    assert files(root / "downloads") == []
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


def test_archive_placed_by_hand_is_used_and_kept(world, tmp_path):
    place = tmp_path / "downloads"
    place.mkdir()
    for name in ("trainval.tar", "test.tar"):
        (place / name).write_bytes(world.bytes[name])
    world.ensure("voc", tmp_path)
    assert world.server.requests == []
    assert files(tmp_path / "VOCdevkit") == [n[len("VOCdevkit/") :] for n in VOC_FILES]
    assert files(place) == ["test.tar", "trainval.tar"]


@pytest.mark.parametrize("cut", [100, 0])
def test_wrong_archive_placed_by_hand(world, tmp_path, cut):
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


def test_interrupted_download_resumes(world, tmp_path):
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


def test_no_network_is_reported_with_steps_by_hand(world, tmp_path):
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
    with pytest.raises(
        DownloadError, match=r"expected VOC2007/other\.txt in the archive"
    ):
        world.ensure("voc", tmp_path)


def test_full_disk(world, tmp_path, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(
        DownloadError, match=r"voc: expected 31.7 kB of free space for .*found 1.0 kB"
    ):
        world.ensure("voc", tmp_path)
    assert world.server.requests == []


@pytest.fixture
def disks(monkeypatch):
    """Gives folders disks of their own, with as many bytes free; the last one wins."""
    table = []

    def number(path):
        above = [i for i, (place, _) in enumerate(table) if path.is_relative_to(place)]
        return above[-1]

    class Stat:
        def __init__(self, path):
            self.st_dev = number(path)

    monkeypatch.setattr(
        download, "nearest", lambda p: type("P", (), {"stat": lambda _: Stat(p)})()
    )
    monkeypatch.setattr(download, "free_space", lambda p: table[number(p)][1])
    return table


def test_room_is_counted_for_each_disk(world, tmp_path, disks):
    packed, unpacked = 10240, 10752  # of one archive, with 5 % to spare
    disks.append((tmp_path, 2 * unpacked + packed - 1))
    steps = plan("voc", tmp_path, archives=world.archives)
    with pytest.raises(DownloadError, match=r"expected 31.7 kB .*found 31.7 kB"):
        ensure_space("voc", steps)
    disks.append((tmp_path / "downloads", packed))
    ensure_space("voc", steps)  # one archive at a time
    disks.append((tmp_path / "VOCdevkit", 2 * unpacked - 1))
    with pytest.raises(DownloadError, match=r"free space for .*VOCdevkit, found 21.5"):
        ensure_space("voc", steps)
    disks.append((tmp_path / "VOCdevkit", 2 * unpacked))
    ensure_space("voc", steps)
    disks.append((tmp_path / "downloads", packed - 1))
    with pytest.raises(DownloadError, match=r"free space for .*downloads, found 10.2"):
        ensure_space("voc", steps)
    part = tmp_path / "downloads" / "trainval.tar.part"
    part.parent.mkdir()
    part.write_bytes(b"x")  # which is one byte less to come, and later one more free
    disks.append((tmp_path / "downloads", packed - 1))
    ensure_space("voc", steps)


def test_archives_on_disk_need_space_for_their_content_only(world, tmp_path, disks):
    place = tmp_path / "downloads"
    place.mkdir()
    for name in ("trainval.tar", "test.tar"):
        (place / name).write_bytes(world.bytes[name])
    disks.append((tmp_path, 2 * 10752))
    ensure_space("voc", plan("voc", tmp_path, archives=world.archives))
    disks.append((tmp_path, 2 * 10752 - 1))
    with pytest.raises(DownloadError, match=r"voc: expected 21.5 kB"):
        ensure_space("voc", plan("voc", tmp_path, archives=world.archives))


def test_links_to_another_disk(world, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    root = tmp_path / "data"
    (root / "VOCdevkit").mkdir(parents=True)
    (root / "VOCdevkit" / "VOC2007").symlink_to(elsewhere)
    replace = os.replace

    def across(source, target):
        places = [str(p.resolve()) for p in (source.parent, target.parent)]
        if len({place.startswith(str(elsewhere)) for place in places}) == 2:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(download.os, "replace", across)
    world.ensure("voc", root)
    prefix = "VOCdevkit/VOC2007/"
    assert files(elsewhere) == [name.removeprefix(prefix) for name in VOC_FILES]
    assert (root / "VOCdevkit" / "VOC2007").is_symlink()


def test_two_at_the_same_time(world, tmp_path):
    threads = [
        threading.Thread(target=world.ensure, args=("voc", tmp_path)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path for path, _ in world.server.requests) == [
        "/test.tar",
        "/trainval.tar",
    ]
    assert files(tmp_path) == VOC_FILES


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_process_killed_while_unpacking(world, tmp_path):
    place = tmp_path / "downloads"
    place.mkdir()
    # All has been fetched, but it has not been given its name.
    (place / "test.tar.part").write_bytes(world.bytes["test.tar"])
    child = os.fork()
    if not child:
        try:
            download._merge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            archives = {"voc": world.archives["voc"][1:]}
            ensure_downloaded("voc", tmp_path, archives=archives, pause=0)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list((tmp_path / "VOCdevkit").glob(".unpacking-*"))) == 1
    world.ensure("voc", tmp_path)
    assert files(tmp_path) == VOC_FILES  # and nothing else
    assert not list((tmp_path / "VOCdevkit").glob(".unpacking-*"))
    assert [path for path, _ in world.server.requests] == ["/trainval.tar"]


def test_table_is_sound():
    assert set(ARCHIVES) == {"voc", "voc0712", "coco"}
    for archives in ARCHIVES.values():
        assert len({a.marker for a in archives}) == len(archives)
        for archive in archives:
            assert len(archive.md5) == 32 and int(archive.md5, 16)
            assert all(url.endswith(archive.name) for url in archive.urls)
            assert archive.name.endswith((".tar", ".zip")) and archive.size > 10**8
    markers = ["annotations/instances_train2017.json", "val2017", "train2017"]
    assert [archive.marker for archive in ARCHIVES["coco"]] == markers
    # A tar archive is a whole number of blocks.
    assert all(a.size % 512 == 0 for a in ARCHIVES["voc0712"])


def test_real_devkit_needs_nothing(shared, tmp_path):
    mini = shared / "data" / "voc2007_mini"
    for root in (mini, mini / "VOCdevkit"):
        ensure_downloaded("voc", root)
