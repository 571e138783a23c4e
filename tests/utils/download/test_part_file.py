import pytest
from faster_rcnn.utils.download import part_file
from faster_rcnn.utils.download.part_file import PartFile


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    monkeypatch.setattr(part_file, "PIECE", 10)
    monkeypatch.setattr(part_file, "_NOTE_EVERY", 0)


def put(part, gap, data):
    with part.open(gap) as file:
        part.write(file, gap, data)


def spans(part):
    return [(gap.start, gap.end) for gap in part._gaps]


def test_one_piece_needs_no_note(tmp_path):
    part = PartFile(tmp_path / "a.part", 8)
    gap = part.take()
    assert (gap.start, gap.end) == (0, 8) and part.take() is None
    put(part, gap, b"abc")
    part.give_back(gap)
    assert part.received == 3 and not part.complete
    assert [p.name for p in tmp_path.iterdir()] == ["a.part"]
    again = PartFile(part.path, 8)
    gap = again.take()
    assert (gap.start, gap.end) == (3, 8)
    put(again, gap, b"defgh")
    again.give_back(gap)
    assert again.complete and part.path.read_bytes() == b"abcdefgh"
    assert PartFile(part.path, 8).complete


def test_pieces_in_any_order_and_a_crash(tmp_path):
    part = PartFile(tmp_path / "a.part", 25)
    first, second, third = part.take(), part.take(), part.take()
    assert [(g.start, g.end) for g in (first, second, third)] == [
        (0, 10),
        (10, 20),
        (20, 25),
    ]
    assert part.take() is None
    put(part, third, b"uvwxy")
    put(part, first, b"abc")
    # Nothing was given back: the process is gone.
    again = PartFile(part.path, 25)
    assert again.received == 8
    assert spans(again) == [(3, 10), (10, 20)]
    for data in (b"defghij", b"klmnopqrst"):
        gap = again.take()
        put(again, gap, data)
        again.give_back(gap)
    assert again.complete
    again.settle()
    assert part.path.read_bytes() == b"abcdefghijklmnopqrstuvwxy"
    assert [p.name for p in tmp_path.iterdir()] == ["a.part"]


def test_given_back_piece_is_taken_by_the_next(tmp_path):
    part = PartFile(tmp_path / "a.part", 15)
    gap = part.take()
    put(part, gap, b"abcd")
    assert part.take().start == 10
    part.give_back(gap)
    assert part.take().start == 4


def test_size_is_learnt(tmp_path):
    part = PartFile(tmp_path / "a.part", None)
    gap = part.take()
    assert gap.end is None and part.received == 0
    part.expect(25)
    assert gap.end == 10 and part.take().start == 10
    put(part, gap, b"abc")
    assert PartFile(part.path, None).size == 25
    part.expect(30)  # the first one counts
    assert part.size == 25
    part.clear()
    assert part.size is None and not list(tmp_path.iterdir())


def test_size_that_is_never_learnt(tmp_path):
    part = PartFile(tmp_path / "a.part", None)
    gap = part.take()
    put(part, gap, b"abc")
    assert part.received == 3
    part.end_here(gap)
    part.give_back(gap)
    assert part.complete and part.received == 3


@pytest.mark.parametrize(
    "note",
    [
        "",
        "no json",
        "[]",
        '{"size": 25}',
        '{"size": 24, "missing": [[3, 10]]}',  # of another size
        '{"size": 25, "missing": [[10, 3]]}',
        '{"size": 25, "missing": [[3, 10], [5, 20]]}',
        '{"size": 25, "missing": [[3, 30]]}',
        '{"size": 25, "missing": [3]}',
        '{"size": 25, "missing": [[24, 25]]}',  # the file is shorter than this says
    ],
)
def test_damaged_note(tmp_path, note):
    path = tmp_path / "a.part"
    path.write_bytes(b"x" * (23 if "24, 25" in note else 25))
    (tmp_path / "a.part.missing").write_text(note)
    part = PartFile(path, 25)
    assert part.received == 0
    assert path.exists()  # looking changes nothing
    assert part.take().start == 0
    assert not path.exists()


def test_system_that_writes_less_than_asked(tmp_path):
    class Short:
        written = b""

        def write(self, block):
            self.written += block[:2]
            return len(block[:2])

    part = PartFile(tmp_path / "a.part", 5)
    gap, file = part.take(), Short()
    part.write(file, gap, b"abcde")
    assert file.written == b"abcde" and gap.empty


def test_file_that_is_too_long_is_for_the_checksum_to_judge(tmp_path):
    path = tmp_path / "a.part"
    path.write_bytes(b"abcdef")
    assert PartFile(path, 3).complete
