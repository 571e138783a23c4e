import io
import os

import pytest
from faster_rcnn.demo.sources import find_items, read_list


def names(items):
    return [item.output for item in items]


def find(*words, listed=(), output="out"):
    from pathlib import Path

    return find_items([str(word) for word in words], listed=listed, output=Path(output))


def test_a_folder_and_those_below(pictures):
    (pictures / ".hidden.jpg").touch()
    (pictures / ".git").mkdir()
    (pictures / ".git" / "x.jpg").touch()
    (pictures / "notes.txt").touch()
    (pictures / "clip.AVI").touch()
    items = find(pictures)
    assert names(items) == ["a.jpg", "b.png", "clip.mp4", "sub/c.jpg"]
    assert [item.kind for item in items] == ["picture", "picture", "video", "picture"]
    assert items[0].source == str(pictures / "a.jpg")


def test_results_in_the_folder_are_no_sources(pictures):
    output = pictures / "results"
    output.mkdir()
    (output / "a.jpg").touch()
    assert names(find(pictures, output=output)) == ["a.jpg", "b.png", "sub/c.jpg"]
    assert names(find(pictures, output=pictures / "other"))[-2:] == [
        "results/a.jpg",
        "sub/c.jpg",
    ]


@pytest.mark.parametrize("relative", [".", "sub"])
def test_sources_are_never_overwritten(pictures, relative, monkeypatch):
    with pytest.raises(ValueError, match=r"c.jpg would be overwritten"):
        find(pictures / "sub", output=pictures / "sub")
    monkeypatch.chdir(pictures)
    with pytest.raises(ValueError, match="would be overwritten"):
        find(pictures / relative, output=relative)


def test_files_globs_and_each_once(pictures, monkeypatch):
    assert names(find(pictures / "a.jpg", pictures, pictures / "a.jpg")) == [
        "a.jpg",
        "b.png",
        "sub/c.jpg",
    ]
    assert names(find(pictures / "*.jpg")) == ["a.jpg"]
    assert names(find(pictures / "**" / "*.jpg")) == ["a.jpg", "sub/c.jpg"]
    monkeypatch.chdir(pictures)
    assert names(find("s?b/*")) == ["c.jpg"]


def test_a_name_with_brackets_is_a_file(pictures):
    (pictures / "a[1].jpg").touch()
    assert names(find(pictures / "a[1].jpg")) == ["a[1].jpg"]


def test_no_two_results_have_one_name(pictures):
    other = pictures.parent / "other"
    other.mkdir()
    for name in ("a.JPG", "a.tif", "b.gif", "v.avi", "v.mov"):
        (other / name).touch()
    assert names(find(pictures, other, other / "b.gif")) == [
        *("a.jpg", "b.png", "sub/c.jpg"),
        *("a-2.JPG", "a.tif.png", "v.mp4", "v-2.mp4", "b.gif.png"),
    ]


def test_cameras():
    (item,) = find("007")
    assert item == ("camera", "7", "camera-7.mp4")


def test_a_list(pictures):
    lines = [str(pictures / "sub/c.jpg"), str(pictures / "gone.jpg")]
    items = find("-", listed=lines)
    assert names(items) == ["sub/c.jpg", "gone.jpg"]
    assert items[1].source == lines[1]
    assert names(find("-", listed=[str(pictures)])) == ["a.jpg", "b.png", "sub/c.jpg"]


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (b"", []),
        (b"a b\nc\r\n\n", ["a b", "c"]),
        (b"a\nb\0c\0", ["a\nb", "c"]),
        (b"\xff\n", [os.fsdecode(b"\xff")]),
    ],
)
def test_reading_a_list(data, paths):
    assert read_list(io.BytesIO(data)) == paths


def test_errors_say_what_to_do(pictures, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"found 1 other files; name another folder"):
        find(empty)
    with pytest.raises(ValueError, match=r"pattern .* found 1 files .* quotes"):
        find(empty / "*")
    with pytest.raises(ValueError, match=r"did you mean 'a.jpg'.*give pictures"):
        find(pictures / "a.jpgg")
    with pytest.raises(ValueError, match="there is no folder"):
        find(tmp_path / "no" / "a.jpg")
    with pytest.raises(ValueError, match=r"on stdin.*found none; try: find"):
        find("-")
