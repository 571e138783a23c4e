import itertools
import json
import random

import pytest
from faster_rcnn.utils.untrusted import json_stream
from faster_rcnn.utils.untrusted.json_stream import json_tables


def pieces(text, size):
    return (text[i : i + size] for i in range(0, len(text), size))


def read(text, size=1 << 20, rows=4096):
    """Join what is handed out; None stays None."""
    found = {}
    for key, elements in json_tables(pieces(text, size), rows=rows):
        if elements is None:
            found[key] = None
        else:
            assert len(elements) <= rows
            found.setdefault(key, []).extend(elements)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_lists_come_in_parts(size, rows):
    content = {
        "info": {"a": [1, 2]},
        "empty": [],
        "numbers": [1, -2.5e-3, 12345678901234567890, 0, 1.5e300],
        "words": ["", "a,]}", '"\\\n', "é€😀", "\ud800"],
        "things": [{"a": [{}, []]}, None, True, [[1], [2, 3]]],
        "last": 7.25,
    }
    wanted = {k: v if isinstance(v, list) else None for k, v in content.items()}
    for options in ({}, {"indent": 1}, {"separators": (",", ":")}):
        assert read(json.dumps(content, **options), size, rows) == wanted
    assert read(json.dumps(content, ensure_ascii=False), size, rows) == wanted


def test_number_of_elements():
    text = json.dumps({"a": list(range(5)), "b": [1]})
    assert list(json_tables(iter([text]), rows=2)) == [
        ("a", [0, 1]),
        ("a", [2, 3]),
        ("a", [4]),
        ("b", [1]),
    ]


def test_nan_and_infinity_as_python_writes_them():
    text = '{"a": [NaN, Infinity, -Infinity]}'
    for size in (1, 3, 100):
        assert [str(x) for x in read(text, size)["a"]] == ["nan", "inf", "-inf"]


@pytest.mark.parametrize("text", ["{}", " {\n} ", "[]", "[1, 2]", "3", '"x"'])
def test_nothing_to_hand_out(text):
    assert read(text) == {} and read(text, 1) == {}


FAULTY = [
    "",
    "  ",
    "{",
    '{"a"',
    '{"a":',
    '{"a": [',
    '{"a": [1',
    '{"a": [1,',
    '{"a": [1}',
    '{"a": [1 2]}',
    '{"a": [\n1, 2,,]}',
    '{"a": ["x\n"]}',
    '{"a": 1 "b": 2}',
    '{"a" 1}',
    "{1: 2}",
    '{"a": 1}\n x',
    '{"a": [{"b": 1,\n\n"c": tru}]}',
    '{"a": [1]}}',
    "nonsense",
]


@pytest.mark.parametrize("text", FAULTY)
def test_faults_are_located_as_the_whole_file_would_be(text):
    with pytest.raises(json.JSONDecodeError) as wanted:
        json.loads(text)
    place = str(wanted.value).rpartition(": ")[2]
    for size in (1, 2, 5, 1000):
        with pytest.raises(ValueError, match="line") as found:
            read(text, size)
        assert str(found.value).endswith(place)


def test_a_comma_too_many():
    with pytest.raises(ValueError, match="line 1 column 13"):
        read('{"a": [1, 2,]}', 3)


def test_random_damage_is_noticed_or_harmless():
    rng = random.Random(0)
    content = {"a": [{"b": [1.5, 2], "c": "x,y"}] * 3, "d": {}, "e": [[], "f"]}
    good = json.dumps(content, indent=1)
    for _ in range(300):
        at = rng.randrange(len(good))
        text = good[:at] + rng.choice('",:[]{}1 x\n\\') + good[at + 1 :]
        size = rng.choice([1, 4, 64])
        try:
            wanted = json.loads(text, object_pairs_hook=list)
        except ValueError:
            with pytest.raises(ValueError, match="char"):
                read(text, size)
        else:
            keys = [key for key, _ in json_tables(pieces(text, size))]
            assert [key for key, _ in itertools.groupby(keys)] == [
                key for key, _ in itertools.groupby(k for k, _ in wanted)
            ]


def test_a_fault_early_in_a_long_file_does_not_read_it_all(monkeypatch):
    monkeypatch.setattr(json_stream, "_LARGEST", 1000)
    text = iter(['{"a": [1, x', *itertools.repeat("y" * 100, 1000)])
    with pytest.raises(ValueError, match=r"Expecting value: line 1 column 11"):
        list(json_tables(text))
    assert len(list(text)) > 900


def test_nested_too_deep():
    with pytest.raises(RecursionError):
        read("[" * 100_000)
    with pytest.raises(RecursionError):
        read('{"a": ' + "[" * 100_000)
