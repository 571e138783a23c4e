import threading

import pytest
from faster_rcnn.utils.download import part_file, receive
from faster_rcnn.utils.download.part_file import PartFile
from faster_rcnn.utils.download.receive import Interrupted, Rejected, Unreachable

DATA = bytes(range(256)) * 2000
PIECE = 50_000  # so eleven of them


@pytest.fixture
def pieces(monkeypatch):
    for module in (part_file, receive):
        monkeypatch.setattr(module, "PIECE", PIECE)


@pytest.fixture
def part(server, tmp_path):
    server.files["/file"] = DATA
    return PartFile(tmp_path / "file.part", len(DATA))


def get(server, part, path="/file", **options):
    receive.receive(server.url + path, part, **options)
    assert part.complete
    assert part.path.read_bytes() == DATA


def test_small_file_is_one_piece(server, part):
    seen = []
    get(server, part, progress=lambda: seen.append(part.received))
    assert server.requests == [("/file", "bytes=0-511999")]
    assert seen == sorted(seen) and seen[-1] == len(DATA)


def test_pieces_come_at_the_same_time(server, part, pieces):
    seen = []
    # No answer begins before four have been asked for; at the end fewer are.
    server.meeting = threading.Barrier(4, timeout=10)
    waiting, meet = server.meeting.wait, iter(range(100))

    def wait(timeout):
        if next(meet) in (1, 2, 3, 4):  # the very first answer opens the others
            waiting(timeout)

    server.meeting.wait = wait
    get(server, part, progress=lambda: seen.append(part.received))
    starts = sorted(int(r.split("=")[1].split("-")[0]) for _, r in server.requests)
    assert starts == list(range(0, len(DATA), PIECE))
    assert seen == sorted(seen) and seen[-1] == len(DATA)


@pytest.mark.parametrize("connections", [1, 3])
def test_size_is_learnt(server, part, pieces, connections):
    part = PartFile(part.path, None)
    told = []
    get(server, part, connections=connections, before=lambda: told.append(part.size))
    assert told == [len(DATA)] and len(server.requests) == 11


def test_server_without_pieces_keeps_what_came(server, part, pieces):
    server.ranges = False
    gaps = [part.take() for _ in range(3)]
    for gap, stop in zip(gaps, (0, 60_000, 100_000), strict=True):
        with part.open(gap) as file:
            part.write(file, gap, DATA[gap.start : stop])
        part.give_back(gap)
    part = PartFile(part.path, len(DATA))
    writes = []
    write = part.write

    def spy(file, gap, block):
        writes.append(len(block))
        write(file, gap, block)

    part.write = spy
    had = part.received
    get(server, part)
    assert len(server.requests) == 1 and sum(writes) == len(DATA) - had


def test_no_length_and_no_pieces(server, part):
    server.ranges, server.lengths = False, False
    get(server, PartFile(part.path, None))


def test_empty_file(server, tmp_path):
    server.files["/file"] = b""
    part = PartFile(tmp_path / "file.part", None)
    receive.receive(server.url + "/file", part)
    assert part.complete and part.received == 0


def test_nothing_missing_asks_nothing(server, part):
    part.path.write_bytes(DATA)
    get(server, PartFile(part.path, len(DATA)))
    assert server.requests == []


def test_dropped_connections_leave_what_came(server, part, pieces):
    server.drop_after = 30_000
    with pytest.raises(Interrupted, match=r"connection ended at .* of 512000 bytes"):
        get(server, part)
    assert part.received == sum(server.sent.values()) < len(DATA)
    server.drop_after = None
    get(server, part)


def test_others_take_over_from_a_connection_that_fails(server, part, pieces):
    server.states = [None, 503, 429]
    get(server, part)


@pytest.fixture
def others_first(monkeypatch):
    """Lets the other connections end before the first answer is read."""
    start = receive._Lanes.start

    def start_and_wait(lanes, count):
        start(lanes, count)
        for thread in lanes._threads:
            thread.join()

    monkeypatch.setattr(receive._Lanes, "start", start_and_wait)


def test_server_that_takes_one_connection_only(server, part, pieces, others_first):
    server.states = [None, 503, 503, 503]
    get(server, part)
    assert len(server.requests) == 11 + 3


def test_connections_that_all_fail(server, part, pieces):
    server.states = [None] + [503] * 50
    with pytest.raises(Interrupted, match="HTTP 503"):
        get(server, part)
    assert part.received == PIECE


def test_stall(server, part, monkeypatch):
    monkeypatch.setattr(receive, "_TIMEOUT", 0.1)
    server.stall_after = 1000
    with pytest.raises(Interrupted, match=r"the connection broke .*timed out"):
        get(server, part)
    assert part.received == 1000  # kept, though less than a block


def test_stall_before_the_answer(server, part, monkeypatch):
    monkeypatch.setattr(receive, "_TIMEOUT", 0.1)
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

    monkeypatch.setattr(receive, "time", Clock())
    monkeypatch.setattr(receive, "_CHUNK", 100)
    with pytest.raises(Interrupted, match="200 bytes in 30 s are too slow"):
        get(server, part)
    assert part.received == 200


@pytest.mark.parametrize(
    ("state", "kind"),
    [(403, Rejected), (404, Rejected), (410, Rejected), (500, Interrupted)],
)
def test_states(server, part, state, kind):
    server.states = [state]
    with pytest.raises(kind, match=f"HTTP {state}"):
        get(server, part)
    get(server, part)


def test_redirect(server, part, pieces):
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
        receive.receive(url, part)
    assert part.received == 0


@pytest.mark.parametrize(
    "given", ["bytes 5-511999/512000", "bytes 0-9/*", "items 0-9/10", "x"]
)
def test_other_piece_than_asked_for(server, part, given):
    server.ranges = given
    with pytest.raises(Rejected, match="expected bytes from 0, the server gives"):
        get(server, part)
    assert part.received == 0


@pytest.mark.parametrize("ranges", [True, False])
def test_other_size_than_expected(server, part, ranges):
    server.ranges = ranges
    server.files["/file"] = b"<html>sign in</html>"
    with pytest.raises(Rejected, match="expected 512000 bytes, the server offers 20"):
        get(server, part)
    assert part.received == 0


@pytest.mark.parametrize(("lie", "come"), [(1000, 512000), (-1000, 511000)])
def test_length_that_is_a_lie(server, part, lie, come):
    server.lengths = lie
    try:
        get(server, part)
    except Interrupted:
        assert lie < 0
    assert part.received == come


def test_no_connection(server, part):
    server.stop()
    with pytest.raises(Unreachable, match="refused"):
        get(server, part)


def test_space_is_asked_for_before_bytes_come(server, part, pieces):
    def before():
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"):
        get(server, part, before=before)
    assert not part.path.exists() and part.take().start == 0


def test_full_disk_stops_all_connections(
    server, part, pieces, others_first, monkeypatch
):
    write = part.write

    def full(file, gap, block):
        if gap.start >= PIECE:
            raise OSError(28, "No space left on device")
        write(file, gap, block)

    monkeypatch.setattr(part, "write", full)
    with pytest.raises(OSError, match="No space left"):
        get(server, part, connections=2)
    assert len(server.requests) == 2 and part.received == 0
    monkeypatch.setattr(part, "write", write)
    get(server, part)


def test_interrupt(server, part, pieces):
    def progress():
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, part, progress=progress)
    had = part.received
    assert had > 0
    get(server, PartFile(part.path, len(DATA)))
