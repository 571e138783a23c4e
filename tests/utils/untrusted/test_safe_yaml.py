import os
from pathlib import Path

import pytest
import yaml
from faster_rcnn.utils.untrusted.safe_yaml import (
    TextLoader,
    UnsafeYAMLError,
    brief,
    read_settings_file,
    read_yaml,
)


def laughs(levels):
    """Each level stands for nine times the one before."""
    lines = ["a0: &a0 [x]"]
    lines += [
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)
    ]
    return "\n".join(lines)


def test_plain_values_and_aliases():
    assert read_yaml("a: [1, {b: 2.5}]\nc: &x [y]\nd: *x") == {
        **{"a": [1, {"b": 2.5}], "c": ["y"], "d": ["y"]}
    }
    assert read_yaml("") is None
    assert len(read_yaml(laughs(4))["a3"]) == 9


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (laughs(12), "at most 20000 values"),
        (laughs(300), "at most 20000 values"),
        ("[" * 31 + "]" * 31, "at most 30 levels"),
        ("[" * 200_000, "at most 30 levels"),
        ("- " * 100 + "x", "at most 30 levels"),
        ("x" * (1 << 18) + "y", "at most 262144 characters"),
        ("a: &a [*a]", "inside of itself"),
        ("a: *b", "'b' inside of itself, or nowhere"),
        ("- 1\n" * 60_000 + "- [" + "2, " * 45_000 + "]", "at most 262144 characters"),
        ("[" + "1," * 20_001 + "]", "at most 20000 values"),
    ],
    ids=range(10),
)
def test_too_much(text, reason):
    with pytest.raises(UnsafeYAMLError, match=reason):
        read_yaml(text)


@pytest.mark.parametrize(
    "text", ["a: 1\nb: 2\na: 3", "x: {1: a, 1: b}", "{a: 1, 'a': 1}"]
)
def test_equal_keys(text):
    with pytest.raises(yaml.YAMLError, match="there twice, in lines"):
        read_yaml(text)


def test_merged_keys_may_be_overridden():
    assert read_yaml("- &a {x: 1, y: 2}\n- {<<: *a, x: 3}")[1] == {"x": 3, "y": 2}


@pytest.mark.parametrize("text", ["0777", "-01", "1:30", "190:20:30.15"])
def test_numbers_of_another_base(text):
    with pytest.raises(yaml.YAMLError, match=r"line 2: .*of another base"):
        read_yaml(f"a:\n- {text}")
    assert read_yaml(f"a: '{text}'") == {"a": text}
    assert read_yaml(f"a: {text}", TextLoader) == {"a": text}


def test_usual_numbers():
    text = "[0, -7, 10, 0.5, 1.5e-3, 0x10, 1_000, 00.5]"
    assert read_yaml(text) == [0, -7, 10, 0.5, 1.5e-3, 16, 1000, 0.5]


@pytest.mark.skipif(os.name == "nt", reason="needs pipes that are files")
def test_only_small_regular_files_are_read(tmp_path):
    pipe, huge = tmp_path / "pipe", tmp_path / "huge"
    os.mkfifo(pipe)
    huge.touch()
    os.truncate(huge, 1 << 40)
    for path in (Path("/dev/zero"), pipe):
        with pytest.raises(UnsafeYAMLError, match="found a device or a pipe"):
            read_settings_file(path)
    with pytest.raises(UnsafeYAMLError, match=f"found {1 << 40} bytes"):
        read_settings_file(huge)
    with pytest.raises(UnsafeYAMLError, match="found a folder"):
        read_settings_file(tmp_path)


def test_thirty_levels_are_allowed():
    value = read_yaml("[" * 30 + "]" * 30)
    for _ in range(29):
        (value,) = value
    assert value == []


@pytest.mark.parametrize(
    "text",
    [
        *("a: [", "!!int ''", "!!set [1]", "!!python/object:os.system x", "\0"),
        *("a: 2001-02-30", "!!float x", "!!timestamp x", "!!omap {a: 1}"),
        *("? {a: 1}\n: b", "!!bool x"),
    ],
)
def test_invalid(text):
    with pytest.raises((yaml.YAMLError, ValueError)):
        read_yaml(text)


def test_brief():
    assert brief("fast") == "'fast'" and brief([1, 2]) == "[1, 2]"
    nested = [1] * 100
    for _ in range(20):
        nested = [nested] * 10
    for value in (nested, "x" * 10**6, 10**5000, {i: i for i in range(10**5)}):
        assert len(brief(value)) < 20_000
    itself = []
    itself.append(itself)
    assert len(brief(itself)) < 100
