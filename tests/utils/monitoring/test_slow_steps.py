import logging
import re
import time

import pytest
from faster_rcnn.utils.monitoring import slow_steps
from faster_rcnn.utils.monitoring.slow_steps import slow_first, slow_step


def test_a_fast_step_says_nothing(caplog):
    caplog.set_level(logging.INFO, "faster_rcnn")
    with slow_step("counting"):
        pass
    assert caplog.messages == []


def test_a_slow_step_says_what_it_does_and_how_long_it_took(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "faster_rcnn")
    monkeypatch.setattr(slow_steps, "SECONDS", 0.01)
    with slow_step("counting"):
        while not caplog.messages:
            time.sleep(0.005)
        assert caplog.messages == ["counting ..."]
    assert re.fullmatch(r"counting: \d+\.\d s", caplog.messages[1])


def test_an_error_ends_the_step(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "faster_rcnn")
    monkeypatch.setattr(slow_steps, "SECONDS", 0.05)
    with pytest.raises(KeyError), slow_step("counting"):
        raise KeyError
    time.sleep(0.1)
    assert caplog.messages == []


def test_the_first_turn_of_a_loop(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "faster_rcnn")
    monkeypatch.setattr(slow_steps, "SECONDS", 0.01)
    seen = []
    for item in slow_first("the first", range(3)):
        seen.append(item)
        while not caplog.messages:
            time.sleep(0.005)
        assert len(caplog.messages) == min(item + 1, 2)
    assert seen == [0, 1, 2] and list(slow_first("none", [])) == []
    assert caplog.messages[0] == "the first ..."
