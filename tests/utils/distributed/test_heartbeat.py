"""A process whose link to the store is cut."""

import threading

import pytest
from faster_rcnn.utils.distributed import heartbeat
from patience import PATIENCE


class Store:
    """Answers some requests, and then never again."""

    def __init__(self, answers):
        self.answers = answers
        self.cut = threading.Event()

    def add(self, key, amount):
        self.answers -= 1
        if self.answers < 0:
            self.cut.wait(PATIENCE)
        return 1

    def check(self, keys):
        return False


@pytest.mark.parametrize("answers", [0, 5])
def test_a_silent_store_ends_the_process(monkeypatch, answers):
    monkeypatch.setattr(heartbeat, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "_SILENT_SECONDS", 0.05)
    ended, statuses = threading.Event(), []

    def end(status):
        statuses.append(status)
        ended.set()

    monkeypatch.setattr(heartbeat, "_exit", end)
    store = Store(answers)
    beating = heartbeat.Heartbeat(store, rank=1, processes=2)
    beating.start()
    assert ended.wait(PATIENCE)
    assert statuses == [1]
    beating._stopped.set()
    store.cut.set()
