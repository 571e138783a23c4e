import threading

import pytest
from faster_rcnn.utils.download import receive as module
from faster_rcnn.utils.download.receive import (
    Interrupted,
    Rejected,
    Unreachable,
    receive,
    received,
)

DATA = bytes(range(256)) * 2000
SIZE = len(DATA)


@pytest.fixture
def part(server, tmp_path):
    server.files["/file"] = DATA
    return tmp_path / "file.part"


def get(server, part, path="/file", size=SIZE, **options):
    receive(server.url + path, part, size, **options)
    assert part.read_bytes() == DATA


def test_one_stream(server, part):
    seen = []
    get(server, part, progress=seen.append)
    assert server.requests == [("/file", None)]
    assert seen == sorted(seen) and seen[-1] == len(DATA)


def test_size_is_learnt(server, part):
    told = []
    get(server, part, size=None, before=told.append)
    assert told == [len(DATA)]


@pytest.mark.parametrize(
    ("ranges", "lengths", "size"),
    [(True, 0, SIZE), (True, False, None), (False, 0, None), (False, False, SIZE)],
)
def test_resumes_after_a_stop(server, part, ranges, lengths, size):
    server.ranges, server.lengths = ranges, lengths
    part.write_bytes(DATA[:300_000])
    seen = []
    get(server, part, size=size, progress=seen.append)
    assert server.requests == [("/file", "bytes=300000-")]
    assert min(seen) >= 300_000 and seen[-1] == len(DATA)
    assert server.sent["/file"] == len(DATA) - (300_000 if ranges else 0)


def test_empty_file(server, part):
    server.files["/file"] = b""
    receive(server.url + "/file", part)
    assert part.read_bytes() == b""


def test_nothing_missing_asks_nothing(server, part):
    part.write_bytes(DATA)
    get(server, part)
    assert server.requests == []


def test_nothing_missing_of_a_file_of_unknown_size(server, part):
    part.write_bytes(DATA)
    get(server, part, size=None)
    assert server.sent == {}
    with pytest.raises(Rejected, match="expected 512001 bytes, the server has no more"):
        get(server, part, size=len(DATA) + 1)


def test_dropped_connection_leaves_the_received_bytes(server, part):
    server.drop_after = 30_000
    with pytest.raises(Interrupted, match=r"connection ended at 30000 of 512000 bytes"):
        get(server, part)
    assert received(part) == 30_000
    server.drop_after = None
    get(server, part)


def test_stall(server, part, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    server.stall_after = 1000
    with pytest.raises(Interrupted, match=r"the connection broke .*timed out"):
        get(server, part)
    assert received(part) == 1000  # kept, though less than a block


def test_stall_before_the_answer(server, part, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT", 0.1)
    server.meeting = threading.Barrier(2)  # nobody else comes
    with pytest.raises(Interrupted, match="timed out"):
        get(server, part)
    server.meeting.abort()


def test_trickle(server, part, monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            self.now += 15
            return self.now

    monkeypatch.setattr(module, "time", Clock())
    monkeypatch.setattr(module, "_CHUNK", 100)
    with pytest.raises(Interrupted, match="200 bytes in 30 s are too slow"):
        get(server, part)
    assert received(part) == 200


@pytest.mark.parametrize(
    ("state", "kind"),
    [(403, Rejected), (404, Rejected), (410, Rejected), (500, Interrupted)],
)
def test_states(server, part, state, kind):
    server.states = [state]
    with pytest.raises(kind, match=f"HTTP {state}"):
        get(server, part)
    get(server, part)


def test_redirect(server, part):
    server.redirects["/old"] = server.url + "/file"
    get(server, part, "/old")


def test_redirect_that_leads_nowhere(server, part):
    server.redirects["/loop"] = server.url + "/loop"
    with pytest.raises(Rejected, match="HTTP 302"):
        get(server, part, "/loop")


def test_redirect_to_a_file_of_this_machine(server, part, tmp_path):
    (tmp_path / "secret").write_bytes(DATA)
    server.redirects["/evil"] = f"file://{tmp_path / 'secret'}"
    with pytest.raises(Rejected, match="HTTP 302"):
        get(server, part, "/evil")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "nonsense", "ftp:x"])
def test_address_that_is_not_of_the_web(part, url):
    with pytest.raises((Rejected, Unreachable)):
        receive(url, part)
    assert received(part) == 0


@pytest.mark.parametrize(
    "given", ["bytes 5-511999/512000", "bytes 1-9/*", "items 1-9/10", "x"]
)
def test_server_sends_another_range(server, part, given):
    server.ranges = given
    part.write_bytes(DATA[:1])
    with pytest.raises(Rejected, match="expected bytes from 1, the server gives"):
        get(server, part)
    assert received(part) == 1


@pytest.mark.parametrize("ranges", [True, False])
def test_other_size_than_expected(server, part, ranges):
    server.ranges = ranges
    server.files["/file"] = b"<html>sign in</html>"
    with pytest.raises(Rejected, match="expected 512000 bytes, the server offers 20"):
        get(server, part)
    assert received(part) == 0


@pytest.mark.parametrize(("lie", "come"), [(1000, 512000), (-1000, 511000)])
def test_length_that_is_a_lie(server, part, lie, come):
    server.lengths = lie
    part.write_bytes(DATA[:1])
    try:
        get(server, part)
    except Interrupted:
        assert lie < 0
    assert received(part) == come


def test_no_connection(server, part):
    server.stop()
    with pytest.raises(Unreachable, match="refused"):
        get(server, part)


def test_space_is_checked_before_bytes_arrive(server, part):
    def before(total):
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        get(server, part, before=before)
    assert not part.exists()


def test_interrupt(server, part):
    def progress(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, part, progress=progress)
    assert received(part) > 0
    get(server, part)
