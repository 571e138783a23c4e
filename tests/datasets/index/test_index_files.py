import os
import signal
import time
from pathlib import Path

import pytest
from faster_rcnn.datasets.index import index_files
from faster_rcnn.datasets.index.index_files import (
    VARIABLE,
    Notes,
    index_folders,
    load_index,
    settings_key,
)
from faster_rcnn.datasets.index.index_writer import RawDataset, RawImages, pack
from faster_rcnn.datasets.records import Drops


def test_the_folders(tmp_path, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    user = Path("/home/me/.cache/faster_rcnn")
    assert index_folders(tmp_path) == [tmp_path / ".cache", user]
    monkeypatch.setenv(VARIABLE, "~/indices")
    assert index_folders(tmp_path) == [Path("/home/me/indices")]
    monkeypatch.setenv(VARIABLE, "0")
    assert index_folders(tmp_path) == []


def test_settings_key():
    keys = [settings_key("a", "b"), settings_key("ab"), settings_key("a", None)]
    assert len(set(keys)) == 3 and settings_key("a", "b") == keys[0]


def open_or_build(folders, pack):
    content = "hash of the annotations"
    return load_index(
        folders, "a", "settings", lambda: content, pack, check=lambda _: True
    )


def test_errors_of_packing_leave_nothing_behind(tmp_path):
    def fail(content, file, scratch):
        file.write(b"x")
        raise ValueError("at fault")

    with pytest.raises(ValueError, match="at fault"):
        open_or_build([tmp_path], fail)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leads_to_the_next_folder(tmp_path):
    places = [tmp_path / "a", tmp_path / "b"]

    def fill(content, file, scratch):
        if scratch == places[0]:
            raise OSError(28, "no space left")
        images = RawImages(tmp_path, lambda _: tmp_path)
        pack(file, RawDataset(images, []), Drops())

    index = open_or_build(places, fill)
    assert index.path.parent == places[1] and list(places[0].iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX")
def test_a_process_killed_while_writing(tmp_path):
    def half(content, file, scratch):
        file.write(b"half of it")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        open_or_build([tmp_path], half)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"half of it" and left.suffix != ".index"

    def whole(content, file, scratch):
        images = RawImages(tmp_path, lambda _: tmp_path)
        pack(file, RawDataset(images, []), Drops())

    index = open_or_build([tmp_path], whole)
    assert list(tmp_path.iterdir()) == [index.path]


def test_notes(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    calls = []

    def find():
        calls.append(1)
        return len(calls)

    notes = Notes.read([tmp_path], "n", "key")
    # Just written: it may yet change within the same tick.
    assert [notes.recall(file, "q", find) for _ in range(2)] == [1, 2]
    notes.write()
    assert list(tmp_path.iterdir()) == [file]


def test_notes_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(index_files, "_QUIET_NANOSECONDS", -1)
    file = tmp_path / "file"
    file.write_text("x")
    answers = iter(range(9))

    def ask(question="q"):
        notes = Notes.read([tmp_path / "none", tmp_path], "n", "key")
        answer = notes.recall(file, question, lambda: next(answers))
        notes.paths = notes.paths[1:]
        notes.write()
        return answer

    assert [ask(), ask(), ask("other"), ask()] == [0, 0, 1, 0]
    time.sleep(0.01)
    file.write_text("y")
    assert [ask(), ask("other"), ask()] == [2, 3, 2]
    (tmp_path / "n-key.json").write_text("[nonsense")
    assert ask() == 4
    path = tmp_path / "n-key.json"
    path.write_bytes(path.read_bytes().replace(b" 4]", b" 5]"))
    assert ask() == 5  # found out anew, not believed
    file.unlink()
    with pytest.raises(OSError, match="No such"):
        ask()
