import pytest
from faster_rcnn.utils.untrusted.json_files import is_number, read_json


@pytest.mark.parametrize(
    "content", [None, b"", b'{"a": ', b"\xff\xfe\x00", b"[" * 10**5]
)
def test_unreadable_files_are_errors_with_path_and_remedy(tmp_path, content):
    path = tmp_path / "b.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.json: expected a list, .*; look again$"):
        read_json(path, expected="a list", remedy="look again")


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (0, True),
        (-1.5, True),
        (float("nan"), False),
        (float("inf"), False),
        (10**400, False),
        ("1", False),
        (None, False),
        ([1], False),
    ],
)
def test_is_number(value, good):
    assert is_number(value) is good
