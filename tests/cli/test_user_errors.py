"""Messages of errors to users, and the exit status."""

import re

import pytest
from faster_rcnn.cli.user_errors import clear_errors
from faster_rcnn.config.loading import ConfigError
from faster_rcnn.engine.non_finite import NonFiniteLossError
from faster_rcnn.engine.stop_signals import Interrupted


def exit_code(error):
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise error
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("bad key"), 2, "ERROR: bad key"),
        (ConfigError("bad recipe"), 2, "ERROR: bad recipe"),
        (OSError(28, "No space left"), 1, "ERROR: [Errno 28] No space left"),
        (NonFiniteLossError("rpn_cls is nan"), 1, "ERROR: rpn_cls is nan"),
        (Interrupted("stopped by SIGINT"), 130, "WARNING: stopped by SIGINT"),
        (KeyboardInterrupt(), 130, "WARNING: interrupted"),
    ],
)
def test_clear_errors(capsys, error, code, line):
    assert exit_code(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {re.escape(line)}\n", err), err


def test_clear_errors_lets_the_rest_pass(capsys):
    with clear_errors():
        pass
    for error in (RuntimeError("CUDA out of memory"), AssertionError(), KeyError("x")):
        with pytest.raises(type(error)), clear_errors():
            raise error
    with pytest.raises(SystemExit) as caught, clear_errors():
        raise SystemExit(7)
    assert caught.value.code == 7
    assert capsys.readouterr().err == ""
