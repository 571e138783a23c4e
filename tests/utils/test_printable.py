import pytest
from faster_rcnn.utils.printable import printable, show


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é 漢字 \U0001f600", "plain, é 漢字 \U0001f600"),
        ("\x00\x1b[2J\x7f\x9b", r"\x00\x1b[2J\x7f\x9b"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202e\u2028\udcff", r"\u202e\u2028\udcff"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
    assert shown.encode()


def test_lines_stay_where_they_are_meant(capsys):
    show("a\n\tb\r\x1b")
    assert capsys.readouterr().out == "a\n\tb\\r\\x1b\n"
