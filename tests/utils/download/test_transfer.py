import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from faster_rcnn.utils.download import receive, transfer
from faster_rcnn.utils.download.transfer import DownloadError, fetch, gather, mismatch
from many_processes import start_process
from patience import PATIENCE

DATA = bytes(range(256)) * 2000
BAD = b"x" + DATA[1:]
MD5 = hashlib.md5(DATA).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


def get(server, path, target, **options):
    options.setdefault("md5", MD5)
    fetch(server.url + path, target, pause=0, **options)
    assert target.read_bytes() == DATA
    assert [p.name for p in target.parent.iterdir()] == [target.name]


def test_plain_fetch(server, tmp_path):
    server.files["/file"] = DATA
    get(server, "/file", tmp_path / "sub" / "file", sha256=SHA256, size=len(DATA))
    assert server.requests == [("/file", None)]


def test_fetch_without_checksum_takes_nothing_over(server, tmp_path):
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(b"of another file")
    get(server, "/file", tmp_path / "file", md5=None)


def test_first_digits_of_a_checksum(server, tmp_path):
    server.files["/file"] = DATA
    get(server, "/file", tmp_path / "file", md5=None, sha256=SHA256[:8].upper())
    with pytest.raises(DownloadError, match="expected sha256 0123abcd, found"):
        get(server, "/file", tmp_path / "file", md5=None, sha256="0123abcd")


def test_existing_file_is_replaced_at_the_end_only(server, tmp_path):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    server.files["/file"] = BAD
    with pytest.raises(DownloadError):
        get(server, "/file", target)
    assert target.read_bytes() == b"old"
    server.files["/file"] = DATA
    get(server, "/file", target)


def test_dropped_connection_resumes(server, tmp_path):
    server.files["/file"] = DATA
    server.drop_after = 100_000  # of each answer, so six are needed
    get(server, "/file", tmp_path / "file", size=len(DATA))
    starts = [asked and int(asked[6:-1]) for _, asked in server.requests]
    assert starts == [None, *range(100_000, 512_000, 100_000)]


@pytest.mark.parametrize("size", [None, len(DATA)])
def test_next_call_resumes_the_last_one(server, tmp_path, size):
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(DATA[:1234])
    get(server, "/file", tmp_path / "file", size=size)
    assert server.requests[0][1].startswith("bytes=1234-")
    assert server.sent == {"/file": len(DATA) - 1234}


def test_server_without_ranges(server, tmp_path):
    server.files["/file"] = DATA
    server.ranges = False
    (tmp_path / "file.part").write_bytes(DATA[:1234])
    get(server, "/file", tmp_path / "file")
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("part", [DATA, DATA[:-5] + b"wrong", DATA + b"more", b"bad"])
def test_part_that_is_whole_or_wrong(server, tmp_path, part, size):
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(part)
    get(server, "/file", tmp_path / "file", size=size)


def test_endless_drops_without_progress_end(server, tmp_path):
    server.files["/file"] = DATA
    server.drop_after = 0
    with pytest.raises(DownloadError, match="the connection ended at 0 of 512000"):
        get(server, "/file", tmp_path / "file")
    assert len(server.requests) == transfer._TRIES


def test_server_that_drops_and_corrupts_does_not_go_on_for_ever(server, tmp_path):
    server.files["/file"] = BAD
    server.drop_after = 300_000
    with pytest.raises(DownloadError, match=f"expected md5 {MD5}, found"):
        get(server, "/file", tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_corrupt_file(server, tmp_path):
    server.files["/file"] = BAD
    with pytest.raises(DownloadError, match=f"/file: expected md5 {MD5}, found"):
        get(server, "/file", tmp_path / "file")
    assert not list(tmp_path.iterdir()) and len(server.requests) == 1


def test_truncated_file_of_unknown_length(server, tmp_path):
    server.files["/file"] = DATA
    server.ranges, server.lengths, server.drop_after = False, False, 1000
    with pytest.raises(DownloadError, match=f"/file: expected md5 {MD5}, found"):
        get(server, "/file", tmp_path / "file")
    with pytest.raises(DownloadError, match="the connection ended at 1000 of 512000"):
        get(server, "/file", tmp_path / "file", size=len(DATA))


def test_not_found_is_not_tried_again(server, tmp_path):
    with pytest.raises(DownloadError, match=r"could not fetch file .*/file: HTTP 404"):
        get(server, "/file", tmp_path / "file")
    assert server.requests == [("/file", None)]


def test_busy_server_is_tried_again(server, tmp_path):
    server.files["/file"] = DATA
    server.states = [503, 429, 500]
    get(server, "/file", tmp_path / "file")


def test_stalls(server, tmp_path, monkeypatch):
    monkeypatch.setattr(receive, "_TIMEOUT", 0.05)
    server.files["/file"] = DATA
    server.stall_after = 200_000
    get(server, "/file", tmp_path / "file", size=len(DATA))
    assert server.sent == {"/file": len(DATA)}


def test_mirrors(server, tmp_path):
    server.files |= {"/corrupt": BAD, "/short": DATA[:9], "/good": DATA}
    mirrors = [server.url + path for path in ("/corrupt", "/short", "/good")]
    get(server, "/none", tmp_path / "file", mirrors=mirrors, size=len(DATA))
    asked = [path for path, _ in server.requests]
    assert asked == ["/none", "/corrupt", "/short", "/good"]


def test_mirror_resumes_the_download_of_another(server, tmp_path):
    server.files |= {"/first": DATA, "/second": DATA}
    server.ends["/first"] = 300_000
    mirrors = [server.url + "/second"]
    get(server, "/first", tmp_path / "file", mirrors=mirrors, size=len(DATA))
    assert server.sent == {"/first": 300_000, "/second": 212_000}


@pytest.mark.parametrize("drop", [300_000, 200_000])
def test_good_mirror_is_not_blamed_for_the_bytes_of_a_bad_one(server, tmp_path, drop):
    server.files |= {"/bad": BAD, "/good": DATA}
    server.drop_after = drop  # so that neither gives all at once
    mirrors = [server.url + "/good"]
    get(server, "/bad", tmp_path / "file", mirrors=mirrors, size=len(DATA))


def test_good_mirror_does_not_go_on_from_a_bad_one_for_ever(server, tmp_path):
    server.files |= {"/bad": BAD, "/good": DATA}
    server.ends["/bad"] = 300_000
    mirrors = [server.url + "/good"]
    get(server, "/bad", tmp_path / "file", mirrors=mirrors, size=len(DATA))
    assert server.requests[-2:] == [("/good", "bytes=300000-"), ("/good", None)]


def test_no_network_gives_up_at_once(tmp_path, server, monkeypatch):
    def no_sleep(_):
        raise AssertionError("there is nothing to wait for")

    url = server.url
    server.stop()
    monkeypatch.setattr(transfer.time, "sleep", no_sleep)
    with pytest.raises(DownloadError, match=r"could not fetch file \(http.*refused"):
        fetch(url + "/file", tmp_path / "file", md5=MD5)


def test_network_that_goes_away_midway_is_waited_for(tmp_path, server, monkeypatch):
    server.files["/file"] = DATA
    server.drop_after = 1000
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 1:
            server.stop()

    monkeypatch.setattr(transfer.time, "sleep", sleep)
    with pytest.raises(DownloadError, match="refused"):
        fetch(server.url + "/file", tmp_path / "file", md5=MD5)
    assert pauses == [1, 2, 4, 8, 16, 32]
    monkeypatch.undo()
    assert (tmp_path / "file.part").stat().st_size == 1000


def test_full_disk_is_seen_before_bytes_come(server, tmp_path, monkeypatch):
    server.files["/file"] = DATA
    usage = shutil.disk_usage(tmp_path)._replace(free=len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"expected 512 kB of free .*make room"):
        get(server, "/file", tmp_path / "file")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file.part").write_bytes(DATA[:1])  # then the rest has room
    get(server, "/file", tmp_path / "file")


def test_folder_that_cannot_be_written_to(server, tmp_path):
    server.files["/file"] = DATA
    (tmp_path / "file.part").mkdir()
    with pytest.raises(DownloadError, match=r"file\.part: cannot be written"):
        fetch(server.url + "/file", tmp_path / "file", md5=MD5)


FETCH = """
import sys
from pathlib import Path
from faster_rcnn.utils.download import transfer
url, target, md5, size = sys.argv[1:]
try:
    transfer.fetch(url, Path(target), md5=md5, size=int(size) or None, pause=0)
except transfer.DownloadError as error:
    print(error)
    print([(p.name, p.stat().st_size) for p in Path(target).parent.iterdir()])
"""


def fetch_here(url, target):
    fetch(url, target, md5=MD5, size=len(DATA))


@pytest.mark.processes
@pytest.mark.parametrize("ranges", [True, False])
def test_killed_process(server, tmp_path, ranges):
    server.files["/file"] = DATA
    server.ranges = ranges
    server.stall_after = 30_000
    target = tmp_path / "file"
    process = start_process(fetch_here, server.url + "/file", target)
    deadline = time.monotonic() + PATIENCE
    while receive.received(tmp_path / "file.part") < 30_000:
        assert time.monotonic() < deadline and process.is_alive()
        server.stalled.wait(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not target.exists()
    server.stall_after = None
    server.sent.clear()
    get(server, "/file", target, size=len(DATA))
    assert server.sent["/file"] == len(DATA) - (30_000 if ranges else 0)


@pytest.mark.processes
@pytest.mark.parametrize("size", [0, len(DATA)])
def test_disk_that_is_full(server, tmp_path, size):
    server.files["/file"] = DATA
    server.ranges, server.lengths = False, False  # so the size comes as a surprise
    # A file system of its own, of 256 KiB, that ends with its processes.
    enter = f'mount -t tmpfs -o size=256k tmpfs {tmp_path} && exec "$@"'
    here = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", enter, "sh"]
    try:
        subprocess.run([*here, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system may be mounted here")
    command = [*here, sys.executable, "-c", FETCH, server.url + "/file"]
    command += [str(tmp_path / "file"), MD5, str(size)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    message, left = run.stdout.splitlines()
    if size:
        assert "expected 512 kB of free space, found 262 kB" in message
        assert left == "[]"
    else:
        assert "No space left on device" in message
        assert "the bytes so far are kept" in message
        assert left == "[('file.part', 262144)]"


def test_gather_leaves_the_file_where_it_came(server, tmp_path):
    server.files["/file"] = DATA
    path = tmp_path / "file.part"
    for _ in range(2):
        gather([server.url + "/file"], path, size=len(DATA), md5=MD5)
        assert path.read_bytes() == DATA and list(tmp_path.iterdir()) == [path]
    assert len(server.requests) == 1  # of the first time


def test_mismatch(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert mismatch(path, size=len(DATA), md5=MD5.upper(), sha256=SHA256) is None
    assert mismatch(path) is None
    assert mismatch(path, size=1) == "expected 1 bytes, found 512000"
    assert mismatch(path, sha256="0" * 64).endswith(f"found {SHA256}")
