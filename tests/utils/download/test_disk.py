import pytest
from faster_rcnn.utils.download.disk import amount, free_space, nearest


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1500, "1.5 kB"),
        (512_000, "512 kB"),
        (19_336_861_798, "19.3 GB"),
        (2e15, "2000000 GB"),
    ],
)
def test_amount(count, text):
    assert amount(count) == text


def test_folder_that_does_not_exist_yet(tmp_path):
    assert nearest(tmp_path / "a" / "b") == tmp_path
    assert nearest(tmp_path) == tmp_path
    assert free_space(tmp_path / "a" / "b") > 0
    assert not (tmp_path / "a").exists()
