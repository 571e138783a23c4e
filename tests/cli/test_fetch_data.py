import functools
import os
import signal

import pytest
from command_lines import load_tool
from faster_rcnn.datasets.archives import ARCHIVES
from faster_rcnn.datasets.download import ensure_downloaded
from many_processes import start_process
from patience import PATIENCE
from tiny_archives import World, files
from web_server import serving

TOOL = load_tool("fetch_data")


@pytest.fixture
def world(monkeypatch):
    """A server, and tiny archives there instead of the real ones."""
    with serving(monkeypatch) as server:
        world = World(server)
        for word, archives in world.archives.items():
            monkeypatch.setitem(ARCHIVES, word, archives)
        yield world


@pytest.fixture
def fetch(run_tool):
    """Runs the tool in this process; gives its exit status and what it prints."""

    return functools.partial(run_tool, "fetch_data")


def test_fetch_and_again(world, fetch, tmp_path):
    assert fetch("voc", "coco", "voc", "--root", tmp_path)[0] == 0
    there = files(tmp_path)
    assert len(there) == 9
    stamps = [(tmp_path / name).stat().st_mtime_ns for name in there]
    world.server.stop()
    status, out, _ = fetch("voc", "coco", "--root", tmp_path)
    assert status == 0 and f"voc is in {tmp_path}" in out
    assert [(tmp_path / name).stat().st_mtime_ns for name in there] == stamps


def test_dry_run(world, fetch, tmp_path):
    place = tmp_path / "downloads"
    place.mkdir()
    (place / "trainval.tar").write_bytes(world.bytes["trainval.tar"])
    (place / "test.tar.part").write_bytes(world.bytes["test.tar"][:5120])
    status, out, _ = fetch("voc", "--dry-run", "--root", tmp_path)
    assert status == 0 and world.server.requests == []
    assert files(tmp_path) == ["downloads/test.tar.part", "downloads/trainval.tar"]
    assert out.splitlines()[:-1] == [
        f"voc in {tmp_path}",
        "  trainval.tar  10.2 kB, unpack",
        f"    from {place / 'trainval.tar'}",
        f"    to   {tmp_path / 'VOCdevkit'}",
        "  test.tar  10.2 kB, fetch and unpack, 50% of it here",
        f"    from {world.server.url}/test.tar",
        f"      or {world.server.url}/mirror/test.tar",
        f"    to   {tmp_path / 'VOCdevkit'}",
    ]
    assert out.splitlines()[-1].startswith("to fetch: 5.1 kB; free: ")
    assert fetch("voc", "--root", tmp_path)[0] == 0
    _, out, _ = fetch("voc", "--dry-run", "--root", tmp_path)
    marker = tmp_path / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt"
    assert f"  test.tar  10.2 kB, there as {marker}\n" in out
    assert "to fetch: 0 bytes" in out


def test_dry_run_where_nothing_is(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr("faster_rcnn.datasets.download.free_space", lambda _: 10**12)
    status, out, _ = fetch("coco", "voc0712", "--dry-run", "--root", tmp_path / "new")
    assert status == 0 and not (tmp_path / "new").exists()
    assert "train2017.zip  19.3 GB" in out and "VOCtrainval_11-May-2012.tar" in out


def test_disk_that_is_too_full(world, fetch, tmp_path, monkeypatch):
    for module in ("datasets.download", "utils.download.disk"):
        monkeypatch.setattr(f"faster_rcnn.{module}.free_space", lambda _: 1000)
    for words in (["voc"], ["voc", "--dry-run"]):
        status, _, err = fetch(*words, "--root", tmp_path)
        assert status == 2 and "found 1.0 kB; make room" in err
    assert world.server.requests == []


def test_no_network(world, fetch, tmp_path):
    world.server.stop()
    status, _, err = fetch("voc", "--root", tmp_path)
    assert status == 2 and "Still missing:" in err and "run the same command" in err


def test_unknown_word(fetch):
    status, _, err = fetch("vco")
    assert status == 2 and "voc0712" in err


def download(archives, root):
    ensure_downloaded("voc", root, archives={"voc": archives})


@pytest.mark.processes
def test_killed_and_run_again(world, fetch, tmp_path):
    world.server.stall_after = 6000
    process = start_process(download, world.archives["voc"], tmp_path)
    part = tmp_path / "downloads" / "trainval.tar.part"
    assert world.server.stalled.wait(PATIENCE)
    while not part.exists() or part.stat().st_size < 6000:
        assert process.is_alive()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    world.server.stall_after = None
    world.server.requests.clear()
    assert fetch("voc", "--root", tmp_path)[0] == 0
    assert world.server.requests == [
        ("/trainval.tar", "bytes=6000-"),
        ("/test.tar", None),
    ]
    assert len(files(tmp_path)) == 6
