import io
import pickle
import random
import zipfile

import pytest
import torch
from faster_rcnn.utils.untrusted.tensor_survey import (
    CodeError,
    SurveyError,
    survey_tensors,
)

CONTENT = {"w": torch.ones(3, 4), "names": ["a"], "f": 1.5, "n": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def refusal(path, kind=SurveyError):
    with pytest.raises(kind) as caught:
        survey_tensors(path)
    return str(caught.value)


def parts(path):
    """The parts of an archive of torch.save, by name."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def write(path, members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)


def with_numbers(path, old, new):
    """Exchange small numbers of the content's pickle."""
    members = parts(path)
    name = next(name for name in members if name.endswith("data.pkl"))
    assert members[name].count(old) == 1
    members[name] = members[name].replace(old, new)
    write(path, members.items())


def long(number):
    return b"\x8a\x09" + number.to_bytes(9, "little")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        CONTENT,
        {},
        torch.nn.Linear(3, 4).state_dict(),
        torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        {"t": torch.ones(6)[::2], "d": torch.float16, "s": torch.Size([1]), "e": {1}},
        [
            torch.ones(2, dtype=kind)
            for kind in (torch.int8, torch.bool, torch.complex64)
        ],
    ],
)
def test_sound_files(path, content, zipped):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    survey_tensors(path)


def test_storage_longer_than_the_file(path):
    for count in (10**6, 10**12, 2**63):
        torch.save(CONTENT, path)
        with_numbers(path, b"K\x0ctq", long(count) + b"tq")
        assert "do not go into" in refusal(path)
    # The old format, in which torch takes the memory first.
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert data.count(b"K\x0cN") == 1
    path.write_bytes(data.replace(b"K\x0cN", long(10**12) + b"N"))
    assert "do not go into" in refusal(path)


def test_many_storages_longer_than_the_file_together(path):
    torch.save([torch.ones(4000) for _ in range(4)], path)
    survey_tensors(path)
    members = parts(path)
    write(path, [(k, v) for k, v in members.items() if not k.endswith("data/3")])
    assert "do not go into" in refusal(path)  # though each of them would


def test_tensors_of_repeated_numbers(path):
    torch.save(torch.ones(()).expand(1000, 1000), path)
    survey_tensors(path)
    for shape in ((10**5, 10**5), (2**28 + 1,)):
        torch.save(torch.ones(()).expand(shape), path)
        assert "claim more than 1073741824 bytes" in refusal(path)
    torch.save([torch.ones(()).expand(2**26) for _ in range(5)], path)
    assert "claim more than" in refusal(path)


@pytest.mark.parametrize("shape", [b"K\x03K\x04", b"K\x03" + long(2**62)])
def test_shape_that_is_none(path, shape):
    torch.save(CONTENT, path)
    with_numbers(path, b"K\x03K\x04\x86", shape + b"N\x87")
    assert "expected a tensor's storage and shape" in refusal(path)


def test_packed_archive(path):
    torch.save(CONTENT, path)
    members = parts(path)
    write(path, members.items(), zipfile.ZIP_DEFLATED)
    assert "found them compressed" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_and_missing_parts(path):
    torch.save(CONTENT, path)
    members = list(parts(path).items())
    write(path, [*members, members[0]])
    assert "entries claim" in refusal(path)
    write(path, [*members, ("other/data.pkl", members[0][1])])
    assert "expected one data.pkl" in refusal(path)
    write(path, members[1:])
    assert "found 0" in refusal(path)


def test_overlapping_parts(path):
    """Two entries of one place: more bytes by the list than in the file."""
    torch.save(torch.ones(5000), path)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")  # the last entry of the list
    data[at + 20 : at + 28] = (30_000).to_bytes(4, "little") * 2
    path.write_bytes(data)
    assert "claim" in refusal(path, (SurveyError, zipfile.BadZipFile))


@pytest.mark.parametrize(
    "name", ["posix\nsystem", "torch\nload", "builtins\nbytearray"]
)
def test_functions_that_tensors_do_not_need(path, name):
    code = b"\x80\x02c" + name.encode() + b"\n" + b"X\x01\0\0\0x\x85R."
    write(path, [("a/data.pkl", code)])
    assert refusal(path, CodeError) == name.replace("\n", ".")
    path.write_bytes(code)
    refusal(path, CodeError)


@pytest.mark.parametrize(
    "content",
    [torch.eye(3).to_sparse(), bytearray(5), torch.ones(2, device="meta")],
    ids=["sparse", "bytearray", "meta"],
)
def test_what_no_checkpoint_holds(path, content):
    torch.save(content, path)
    refusal(path, CodeError)


def test_memory_and_length_of_the_pickle(path):
    for code, reason in (
        (b"\x80\x02Nr" + (2**30).to_bytes(4, "little") + b".", "is to be remembered"),
        (b"\x80\x02" + b"N0" * 1_000_001 + b"N.", "at most 2000000 instructions"),
        (b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x.", "bytes"),
        (b"\x80\x02\x82\x01.", "found a reference"),
    ):
        write(path, [("a/data.pkl", code)])
        assert reason in refusal(path, ValueError)


def test_damage_never_gets_out_of_hand(path):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    data, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            survey_tensors(path)
        except Exception as error:
            assert not isinstance(error, MemoryError)


def test_other_files(path):
    path.write_bytes(b"")
    refusal(path, ValueError)
    path.write_bytes(pickle.dumps({"a": 1}))
    survey_tensors(path)  # for torch.load to refuse
    stream = io.BytesIO()
    torch.save(CONTENT, stream)
    path.write_bytes(stream.getvalue()[:-30])
    refusal(path, zipfile.BadZipFile)
