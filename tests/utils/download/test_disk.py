import threading

import pytest
from faster_rcnn.utils.download import disk
from faster_rcnn.utils.download.disk import alone, amount, free_space, nearest


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


def test_folder_that_is_not_there_yet(tmp_path):
    assert nearest(tmp_path / "a" / "b") == tmp_path
    assert nearest(tmp_path) == tmp_path
    assert free_space(tmp_path / "a" / "b") > 0
    assert not (tmp_path / "a").exists()


def test_only_one_at_a_time(tmp_path, caplog):
    if disk.fcntl is None:
        pytest.skip("folders cannot be locked here")
    order = []
    entered = threading.Event()

    def other():
        entered.set()
        with alone(tmp_path / "new"):
            order.append("other")

    thread = threading.Thread(target=other)
    with caplog.at_level("INFO", logger="faster_rcnn"), alone(tmp_path / "new"):
        thread.start()
        entered.wait()
        thread.join(timeout=0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
    assert "waiting for another process" in caplog.text
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("error", [OSError(9, "Bad file descriptor"), None])
def test_where_folders_cannot_be_locked(tmp_path, monkeypatch, error):
    class Fcntl:
        LOCK_EX = LOCK_NB = 0

        @staticmethod
        def flock(*_):
            raise error

    monkeypatch.setattr(disk, "fcntl", Fcntl if error else None)
    with alone(tmp_path):
        pass
