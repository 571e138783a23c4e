import io
import logging

import pytest
from faster_rcnn.utils.monitoring import logs
from faster_rcnn.utils.monitoring.logs import (
    FILE_ONLY,
    LOGGER_NAME,
    STATUS,
    setup_logging,
)

log = logging.getLogger("faster_rcnn.somewhere")


@pytest.fixture(autouse=True)
def _restore():
    logger = logging.getLogger(LOGGER_NAME)
    handlers, level = list(logger.handlers), logger.level
    yield
    STATUS.erase()
    for handler in list(logger.handlers):
        if handler not in handlers:
            logger.removeHandler(handler)
            handler.close()
    logger.setLevel(level)


def test_name_is_that_of_the_package():
    assert logs.__name__.startswith(LOGGER_NAME + ".")


def test_console_and_file(tmp_path, capsys):
    path = tmp_path / "run" / "train.log"
    setup_logging(path)
    log.info("trained %d", 3)
    log.warning("odd box")
    log.error("broken")
    log.debug("not shown")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "trained 3",
        "WARNING: odd box",
        "ERROR: broken",
    ]
    assert len(lines[0].split()[0]) == len("12:34:56")
    in_file = path.read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2] for line in in_file] == [
        "trained 3",
        "WARNING: odd box",
        "ERROR: broken",
    ]


def test_names_from_outside_cannot_forge_lines(tmp_path, capsys):
    path = tmp_path / "train.log"
    setup_logging(path)
    log.info("opened %s", "\x1b]0;title\x07 \u202egpj.\udcff\n12:00:00 saved\ta")
    for text in (capsys.readouterr().err, path.read_text(encoding="utf-8")):
        head, line = text.splitlines()
        assert head.endswith(r"opened \x1b]0;title\x07 \u202egpj.\udcff")
        assert line == "  12:00:00 saved\ta"


def test_setting_up_again_replaces(tmp_path, capsys):
    other = logging.NullHandler()
    logging.getLogger(LOGGER_NAME).addHandler(other)
    for name in ("a.log", "b.log", "b.log"):
        logger = setup_logging(tmp_path / name)
    log.info("once")
    assert capsys.readouterr().err.count("once") == 1
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text().count("once") == 1
    assert other in logger.handlers
    setup_logging()
    log.info("no file")
    assert "no file" not in (tmp_path / "b.log").read_text()
    logger.removeHandler(other)


def test_log_file_is_appended_to(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("earlier\n")
    setup_logging(path)
    log.info("later")
    assert path.read_text().startswith("earlier\n")


def test_file_only_records_stay_off_the_console(tmp_path, capsys):
    setup_logging(tmp_path / "train.log")
    log.info("quiet", extra=FILE_ONLY)
    assert capsys.readouterr().err == ""
    assert "quiet" in (tmp_path / "train.log").read_text()


def test_log_lines_do_not_tear_the_status_line(capsys):
    setup_logging()
    terminal = io.StringIO()
    logging.getLogger(LOGGER_NAME).handlers[-1].stream = terminal
    STATUS.show(terminal, "10/20")
    log.info("saved")
    clear = "\r\x1b[K"
    text = terminal.getvalue()
    before, after = text.split("saved\n")
    assert before.startswith(f"{clear}10/20{clear}")  # erased before the log line
    assert after == f"{clear}10/20"  # and back below it
    STATUS.finish()
    log.info("end")
    assert terminal.getvalue().endswith("end\n")


def test_unwritable_log_file_warns_once(tmp_path, capsys, monkeypatch):
    class Full(io.StringIO):
        def write(self, _):
            raise OSError(28, "No space left on device")

    path = tmp_path / "train.log"
    monkeypatch.setattr(setup_logging(path).handlers[-1], "stream", Full())
    log.info("first")
    log.info("second")
    err = capsys.readouterr().err
    assert err.count("cannot write to") == 1
    assert "No space left on device" in err
    assert str(path) in err
    assert "Traceback" not in err
    assert "second" in err


def test_unusable_path_is_an_error(tmp_path):
    with pytest.raises(OSError, match=tmp_path.name):
        setup_logging(tmp_path)
