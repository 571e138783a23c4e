import logging

from faster_rcnn.utils.download import byte_progress
from faster_rcnn.utils.download.byte_progress import ByteProgress


def test_log_gets_the_last_line_and_one_for_each_step(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "faster_rcnn")
    monkeypatch.setattr(byte_progress, "_LOG_EVERY", 400_000)
    with ByteProgress("a.tar", 1_000_000, start=100_000) as bar:
        for count in range(200_000, 1_000_001, 100_000):
            bar.show(count)
    starts = [message.split("%")[0] for message in caplog.messages]
    assert starts == [
        "a.tar  400 kB of 1.0 MB   40.0",
        "a.tar  800 kB of 1.0 MB   80.0",
        "a.tar  1.0 MB of 1.0 MB  100.0",
    ]
    assert "B/s  eta 0:0" in caplog.messages[1]


def test_total_that_is_learnt_later_or_never(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "faster_rcnn")
    monkeypatch.setattr(byte_progress, "_LOG_EVERY", 500)
    bar = ByteProgress("a.tar")
    bar.show(500)
    bar.expect(1000)
    bar.show(1000)
    firsts = [message.split("  ")[:2] for message in caplog.messages]
    assert firsts == [["a.tar", "500 bytes"], ["a.tar", "1.0 kB of 1.0 kB"]]
