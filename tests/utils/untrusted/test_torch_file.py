import pickle
import random
import zipfile

import pytest
import torch
from faster_rcnn.utils.untrusted.torch_file import ClaimError, load_torch_file

CONTENT = {"w": torch.ones(3, 4), "names": ["a"], "f": 1.5, "n": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def refusal(path, kind=ClaimError):
    with pytest.raises(kind) as caught:
        load_torch_file(path)
    return str(caught.value)


def parts(path):
    """The parts of an archive of torch.save, by name."""
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def write(path, members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)


def long(number):
    return b"\x8a\x09" + number.to_bytes(9, "little")


@pytest.mark.parametrize("zipped", [True, False])
def test_sound_files_outlive_their_file(path, zipped):
    shared = torch.arange(6.0)
    content = {
        **{"state": torch.nn.Linear(3, 4).state_dict(), "size": torch.Size([1])},
        **{"t": shared[::2], "all": shared, "half": torch.ones(2).bfloat16()},
        **{"parameter": torch.nn.Parameter(torch.ones(2)), "set": {1}},
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    loaded = load_torch_file(path)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(loaded["t"], shared[::2]) and loaded["set"] == {1}
    loaded["all"][0] = 5  # tensors that shared their numbers still do
    assert loaded["t"][0] == 5


@pytest.mark.parametrize("zipped", [True, False])
def test_storage_longer_than_the_file(path, zipped):
    for count in (10**6, 10**12, 2**63):
        torch.save(CONTENT, path, _use_new_zipfile_serialization=zipped)
        if zipped:
            members = parts(path)
            name = next(name for name in members if name.endswith("data.pkl"))
            assert members[name].count(b"K\x0ctq") == 1
            changed = members[name].replace(b"K\x0ctq", long(count) + b"tq")
            write(path, (members | {name: changed}).items())
            try:  # what is beyond the file is left out
                storage = load_torch_file(path)["w"].untyped_storage()
                assert storage.nbytes() <= path.stat().st_size
            except Exception as error:
                assert not isinstance(error, MemoryError)
        else:
            data = path.read_bytes()
            assert data.count(b"K\x0cN") == 1
            path.write_bytes(data.replace(b"K\x0cN", long(count) + b"N"))
            refusal(path, Exception)


def test_tensors_of_repeated_numbers(path):
    torch.save(torch.ones(()).expand(1000, 1000), path)
    assert load_torch_file(path).shape == (1000, 1000)
    for shape in ((10**5, 10**5), (2**28 + 1,)):
        torch.save(torch.ones(()).expand(shape), path)
        assert "claim more than 1073741824 bytes" in refusal(path)
    torch.save([torch.ones(()).expand(2**26) for _ in range(5)], path)
    assert "claim more than" in refusal(path)


def test_packed_archive(path):
    torch.save(CONTENT, path)
    members = parts(path)
    write(path, members.items(), zipfile.ZIP_DEFLATED)
    assert "without compression" in refusal(path)


def test_overlapping_parts(path):
    torch.save(torch.ones(5000), path)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")  # the last entry of the list
    data[at + 20 : at + 28] = (30_000).to_bytes(4, "little") * 2
    path.write_bytes(data)
    assert "claim" in refusal(path, (ClaimError, zipfile.BadZipFile))


@pytest.mark.parametrize("name", ["posix\nsystem", "torch\nload", "os\nremove"])
def test_functions_that_tensors_do_not_need(path, name):
    code = b"\x80\x02c" + name.encode() + b"\n" + b"X\x01\0\0\0x\x85R."
    torch.save(CONTENT, path)
    members = parts(path)
    pickled = next(name for name in members if name.endswith("data.pkl"))
    write(path, (members | {pickled: code}).items())
    assert name.replace("\n", ".") in refusal(path, pickle.UnpicklingError)
    path.write_bytes(code)
    refusal(path, pickle.UnpicklingError)


@pytest.mark.parametrize(
    "content",
    [torch.eye(3).to_sparse(), torch.ones(2, device="meta")],
    ids=["sparse", "meta"],
)
def test_what_no_checkpoint_holds(path, content):
    torch.save({"w": [content]}, path)
    assert "expected dense tensors of numbers" in refusal(path)


def test_lists_of_lists_of_lists(path):
    content = ["x"]
    for _ in range(60):
        content = [content] * 10
    torch.save(content, path)
    load_torch_file(path)


def test_damage_never_gets_out_of_hand(path):
    torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
    data, rng = path.read_bytes(), random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            load_torch_file(path)
        except Exception as error:
            assert not isinstance(error, MemoryError)
