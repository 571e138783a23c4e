import io
import stat
import tarfile
import zipfile

import pytest
from faster_rcnn.utils.download.unpack import extract


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


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/evil", "C:\\evil", "..\\evil"]
)
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


@pytest.mark.parametrize("name", [".", "./"])
def test_extract_refuses_files_without_a_name(tmp_path, name):
    archive = tmp_path / "archive"
    archive.write_bytes(tar_bytes({name: b"evil"}))
    with pytest.raises(ValueError, match="archive: expected paths inside"):
        extract(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_extract_does_not_write_through_links(tmp_path, kind):
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as file:
        link = tarfile.TarInfo("name")
        link.type, link.linkname = kind, "../victim"
        file.addfile(link)
        same = tarfile.TarInfo("name")
        same.size = 4
        file.addfile(same, io.BytesIO(b"evil"))
    extract(archive, tmp_path / "out")
    assert victim.read_bytes() == b"mine"
    assert (tmp_path / "out" / "name").read_bytes() == b"evil"


def test_extract_takes_over_no_permissions(tmp_path):
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as file:
        info = tarfile.TarInfo("name")
        info.mode = 0o4777
        file.addfile(info)
    extract(archive, tmp_path / "out")
    assert (tmp_path / "out" / "name").stat().st_mode & 0o6111 == 0


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
