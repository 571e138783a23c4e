import errno
import os
import socket
import subprocess
import sys
import time

import pytest
import torch
from faster_rcnn.utils import files
from faster_rcnn.utils.files import (
    atomic_path,
    concerns_one_file,
    remove_stale,
    write_atomic,
)
from patience import PATIENCE


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize(
    ("data", "stored"),
    [(b"\x00\r\n\xff", b"\x00\r\n\xff"), ("é\nb\r\n", b"\xc3\xa9\nb\r\n"), ("", b"")],
)
def test_write_atomic_stores_exactly_this(tmp_path, data, stored):
    path = tmp_path / "new" / "folder" / "a.json"
    write_atomic(path, b"old")
    write_atomic(path, data)
    assert path.read_bytes() == stored
    assert names(path.parent) == ["a.json"]


def test_new_files_get_the_usual_permissions(tmp_path):
    write_atomic(tmp_path / "atomic", b"")
    (tmp_path / "plain").write_bytes(b"")
    modes = [(tmp_path / name).stat().st_mode for name in ("atomic", "plain")]
    assert modes[0] == modes[1]


def test_final_name_changes_only_after_the_block(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with atomic_path(path) as temporary:
        assert temporary.parent == tmp_path
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert remove_stale(tmp_path) == []  # being written, hence not stale
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, RuntimeError])
def test_failure_keeps_the_old_file_and_cleans_up(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error, match="mine"), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error("mine")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("existed", "state"),
    [(True, "previous version is intact"), (False, "no previous version")],
)
def test_full_disk_is_named(tmp_path, existed, state):
    path = tmp_path / "model.pt"
    if existed:
        path.write_text("old")
    with pytest.raises(OSError, match=state) as caught, atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    assert str(path) in str(caught.value)
    assert names(tmp_path) == (["model.pt"] if existed else [])


def test_other_os_errors_pass_unchanged(tmp_path):
    with pytest.raises(PermissionError, match=r"^no$"), atomic_path(tmp_path / "a"):
        raise PermissionError("no")


def test_full_disk_behind_a_runtime_error(tmp_path, monkeypatch):
    """torch.save reports a failed write as a RuntimeError without an errno."""

    class Usage:
        free = 0

    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(OSError, match="disk is full"), atomic_path(tmp_path / "a"):
        raise RuntimeError("[enforce fail] unexpected pos 576 vs 534")


def test_torch_save_goes_through(tmp_path):
    with atomic_path(tmp_path / "a.pt") as temporary:
        torch.save({"x": torch.arange(3)}, temporary)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "x.json" + "y" * 240])
def test_names_at_the_limit_of_the_file_system(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        assert len(os.fsencode(temporary.name)) <= 143
        assert os.fsencode(temporary.name).decode()  # no half of a character
        temporary.write_text("new")
    assert names(tmp_path) == [name]


def test_long_temporary_names_are_stale_too(tmp_path):
    path = killed_writer(tmp_path, "a" * 255)
    assert len(remove_stale(tmp_path)) == 1
    assert not path.exists() and names(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "one"),
    [(errno.ENAMETOOLONG, True), (errno.EISDIR, True), (errno.ENOSPC, False)],
)
def test_what_concerns_one_file(number, one):
    assert concerns_one_file(OSError(number, "reason")) is one


def killed_writer(folder, name="a"):
    """Let another process be killed in the middle of a write."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from faster_rcnn.utils.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    path = folder / name
    done = subprocess.run([sys.executable, "-c", code, str(path)], timeout=PATIENCE)
    assert done.returncode == -9
    return path


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_killed_process_leaves_no_half_file(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    killed_writer(tmp_path)
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    assert len(remove_stale(tmp_path)) == 1
    assert names(tmp_path) == ["a"]


def test_remove_stale_spares_living_and_foreign_files(tmp_path):
    host = socket.gethostname().replace(".", "_")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    key = "0" * 32
    living = tmp_path / f".a.{host}-{os.getppid()}-{key}.tmp"
    elsewhere = tmp_path / f".a.other_host-{gone.pid}-{key}.tmp"
    abandoned = tmp_path / f".b.other_host-1-{key}.tmp"
    former_self = tmp_path / f".c.{host}-{os.getpid()}-{key}.tmp"
    unrelated = [tmp_path / name for name in (".a.tmp", "a", f"a.{host}-1-{key}.tmp")]
    for path in (living, elsewhere, abandoned, former_self, *unrelated):
        path.touch()
    long_ago = time.time() - 7200
    os.utime(abandoned, (long_ago, long_ago))
    assert remove_stale(tmp_path) == [abandoned, former_self]
    assert all(path.exists() for path in (living, elsewhere, *unrelated))


def test_remove_stale_of_a_missing_folder(tmp_path):
    assert remove_stale(tmp_path / "none") == []


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_limit_of_a_file_behind_a_runtime_error(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with (
            pytest.raises(OSError, match=r"ulimit -f\), so a could not") as caught,
            atomic_path(tmp_path / "a") as temporary,
        ):
            torch.save(torch.zeros(100_000), temporary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert names(tmp_path) == []


def test_other_runtime_errors_pass_unchanged(tmp_path):
    with pytest.raises(RuntimeError, match="mine"), atomic_path(tmp_path / "a"):
        raise RuntimeError("mine")
    assert names(tmp_path) == []
