import pytest
from faster_rcnn.datasets.formats.values import is_set, read_lines, whole_number


@pytest.mark.parametrize("flag", [1, True, 1.0, "1", "true", " True ", "yes"])
def test_flags_that_are_set(flag):
    assert is_set(flag)


@pytest.mark.parametrize(
    "flag", [0, False, None, "", "0", "false", "False", "Unspecified", "no", "None"]
)
def test_flags_that_are_not(flag):
    assert not is_set(flag)


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), (7.0, 7), ("7", 7), (" 007 ", 7), (-7, -7), (0, 0)]
    + [(v, None) for v in (7.5, "seven", "", True, None, 2**63, float("inf"), [7])],
)
def test_whole_numbers(value, number):
    assert whole_number(value) == number


def test_lines_after_a_byte_order_mark(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\n")
    assert read_lines(path) == ["one", "two"]
