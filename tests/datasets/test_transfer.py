import hashlib
import io
import stat
import tarfile
import zipfile

import pytest
from faster_rcnn.datasets import transfer
from faster_rcnn.datasets.transfer import DownloadError, extract, fetch, mismatch

DATA = bytes(range(256)) * 2000
MD5 = hashlib.md5(DATA).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()


def get(server, path, target, **options):
    options.setdefault("md5", MD5)
    fetch(server.url + path, target, pause=0, **options)


def test_plain_fetch(server, tmp_path):
    server.files["/file"] = DATA
    target = tmp_path / "sub" / "file"
    get(server, "/file", target, sha256=SHA256, size=len(DATA))
    assert target.read_bytes() == DATA
    assert [p.name for p in target.parent.iterdir()] == ["file"]
    assert server.requests == [("/file", None)]


def test_fetch_without_checksum_takes_nothing_over(server, tmp_path):
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(b"of another file")
    fetch(server.url + "/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_dropped_connection_goes_on_where_it_broke(server, tmp_path):
    server.files["/file"] = DATA
    server.drop_after = 100_000  # of each answer, so six are needed
    get(server, "/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    wanted = [None, *(f"bytes={start}-" for start in range(100_000, 512_000, 100_000))]
    assert [byte_range for _, byte_range in server.requests] == wanted


def test_next_call_goes_on_where_the_last_one_stopped(server, tmp_path):
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(DATA[:1234])
    get(server, "/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert server.requests == [("/file", "bytes=1234-")]


def test_server_without_ranges(server, tmp_path):
    server.files["/file"] = DATA
    server.ranges = False
    (tmp_path / "file.part").write_bytes(DATA[:1234])
    get(server, "/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA
    assert len(server.requests) == 1


@pytest.mark.parametrize("size", [None, len(DATA)])
@pytest.mark.parametrize("part", [DATA, DATA[:-5] + b"wrong", DATA + b"more", b"bad"])
def test_part_that_is_whole_or_wrong(server, tmp_path, part, size):
    server.files["/file"] = DATA
    (tmp_path / "file.part").write_bytes(part)
    get(server, "/file", tmp_path / "file", size=size)
    assert (tmp_path / "file").read_bytes() == DATA


def test_endless_drops_without_progress_end(server, tmp_path):
    server.files["/file"] = DATA
    server.drop_after = 0
    with pytest.raises(DownloadError, match="the connection ended at 0 of 512000"):
        get(server, "/file", tmp_path / "file")
    assert len(server.requests) == transfer._ROUNDS


def test_server_that_drops_and_corrupts_does_not_go_on_for_ever(server, tmp_path):
    server.files["/file"] = b"x" + DATA[1:]
    server.drop_after = 300_000
    with pytest.raises(DownloadError, match=f"expected md5 {MD5}, found"):
        get(server, "/file", tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_corrupt_file(server, tmp_path):
    server.files["/file"] = b"x" + DATA[1:]
    with pytest.raises(DownloadError, match=f"/file: expected md5 {MD5}, found"):
        get(server, "/file", tmp_path / "file")
    assert not list(tmp_path.iterdir()) and len(server.requests) == 1


def test_wrong_size_is_refused_before_it_is_fetched(server, tmp_path):
    server.files["/file"] = b"<html>sign in</html>"
    with pytest.raises(DownloadError, match="512000 bytes, the server offers 20"):
        get(server, "/file", tmp_path / "file", size=len(DATA))


def test_not_found_is_not_asked_for_again(server, tmp_path):
    with pytest.raises(DownloadError, match=r"could not fetch file .*/file: HTTP 404"):
        get(server, "/file", tmp_path / "file")
    assert len(server.requests) == 1


def test_busy_server_is_asked_again(server, tmp_path):
    server.files["/file"] = DATA
    server.states = [503, 429]
    get(server, "/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == DATA


def test_mirrors(server, tmp_path):
    server.files |= {"/corrupt": b"x" + DATA[1:], "/good": DATA}
    mirrors = [server.url + "/corrupt", server.url + "/good"]
    get(server, "/none", tmp_path / "file", mirrors=mirrors)
    assert (tmp_path / "file").read_bytes() == DATA
    assert [path for path, _ in server.requests] == ["/none", "/corrupt", "/good"]


def test_no_network_gives_up_after_one_round(tmp_path, server, monkeypatch):
    def no_sleep(_):
        raise AssertionError("there is nothing to wait for")

    url = server.url
    server.stop()
    monkeypatch.setattr(transfer.time, "sleep", no_sleep)
    with pytest.raises(DownloadError, match=r"could not fetch file \(http.*refused"):
        fetch(url + "/file", tmp_path / "file", md5=MD5)


def test_full_disk(server, tmp_path, monkeypatch):
    server.files["/file"] = DATA
    usage = (10, 9, 1000)
    monkeypatch.setattr(
        transfer.shutil, "disk_usage", lambda _: type("U", (), {"free": usage[2]})
    )
    with pytest.raises(DownloadError, match="GB of free space"):
        get(server, "/file", tmp_path / "file")


def test_mismatch(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    assert mismatch(path, size=len(DATA), md5=MD5.upper(), sha256=SHA256) is None
    assert mismatch(path) is None
    assert mismatch(path, size=1) == "expected 1 bytes, found 512000"
    assert mismatch(path, sha256="0" * 64).endswith(f"found {SHA256}")


def tar_bytes(entries, mode="w"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as file:
        for name, content in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content
                file.addfile(info)
    return stream.getvalue()


def zip_bytes(entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return stream.getvalue()


GOOD = {"a.txt": b"one", "deep/er/b.txt": b"two" * 1000, "empty": b""}


@pytest.mark.parametrize(
    "data",
    [
        tar_bytes(GOOD | {"deep": (tarfile.DIRTYPE, "")}),
        tar_bytes(GOOD, "w:gz"),
        zip_bytes(GOOD | {"deep/": b""}),
        tar_bytes(GOOD | {"zzz.zip": zip_bytes(GOOD)}),
    ],
)
def test_extract(tmp_path, data):
    archive = tmp_path / "archive"
    archive.write_bytes(data)
    extract(archive, tmp_path / "out")
    for name, content in GOOD.items():
        assert (tmp_path / "out" / name).read_bytes() == content


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:\\evil"])
@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
def test_extract_refuses_paths_that_lead_out(tmp_path, pack, name):
    archive = tmp_path / "archive"
    archive.write_bytes(pack({name: b"evil"}))
    with pytest.raises(ValueError, match="archive: expected paths inside"):
        extract(archive, tmp_path / "out" / "in")
    assert not list(tmp_path.rglob("*evil*"))


def test_extract_leaves_links_out(tmp_path, caplog):
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = tmp_path / "archive.tar"
    archive.write_bytes(
        tar_bytes(
            {
                "link": (tarfile.SYMTYPE, str(outside)),
                "link/file": b"through the link",
                "hard": (tarfile.LNKTYPE, "../outside"),
                "pipe": (tarfile.FIFOTYPE, ""),
            }
        )
    )
    extract(archive, tmp_path / "out")
    assert not list(outside.iterdir())
    assert (tmp_path / "out" / "link" / "file").read_bytes() == b"through the link"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["link"]
    assert "3 links or devices left out" in caplog.text


def test_extract_leaves_links_of_zip_out(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as file:
        file.writestr(link, "/etc")
        file.writestr("file", b"content")
    extract(tmp_path / "archive.zip", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["file"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        tar_bytes(GOOD)[:1900],
        tar_bytes(GOOD, "w:gz")[:-20],
        zip_bytes(GOOD)[:-30],
        zip_bytes({"a": b"one"}).replace(b"PK\x03\x04", b"PK\x03\x05"),
    ],
)
def test_extract_damaged_archive(tmp_path, data):
    archive = tmp_path / "archive"
    archive.write_bytes(data)
    with pytest.raises(ValueError, match="archive: expected a whole tar or zip"):
        extract(archive, tmp_path / "out")
