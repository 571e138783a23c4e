"""Arrays of an .npz, and files that claim what they do not hold."""

import io
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
from faster_rcnn.utils.untrusted.npz import NpzError, read_npz

GRID = np.arange(6, dtype=np.float32).reshape(2, 3)
MIB = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "arrays.npz"


def refusal(path, names=("a",)):
    """The message, once it is sure that little memory was taken for it."""
    tracemalloc.start()
    with pytest.raises(NpzError) as caught:
        read_npz(path, names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MIB
    return str(caught.value)


def npy(shape, dtype, data, version=(1, 0)):
    """An .npy file with these claims about itself."""
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    width = 2 if version == (1, 0) else 4
    size = len(header).to_bytes(width, "little")
    return b"\x93NUMPY" + bytes(version) + size + header + data


def write(path, data, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("a.npy", data)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_files_written_by_numpy(path, save):
    arrays = {
        "a": GRID,
        "b": np.asfortranarray(GRID),
        "text": np.array(["x", "yz"]),
        "none": np.zeros((0, 4)),
        "number": np.array(3),
        "big": GRID.astype(">f8"),
    }
    save(path, other=np.array([None]), **arrays)
    for array, found in zip(arrays.values(), read_npz(path, [*arrays]), strict=True):
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype and found.flags.writeable


def test_regular_content_may_be_packed(path):
    corners = np.meshgrid(*[np.arange(0, 500, 8)] * 2, *[[32, 64, 128]] * 2)
    boxes = np.stack(corners, axis=-1).reshape(-1, 4)
    np.savez_compressed(path, a=boxes)
    assert boxes.nbytes > max(MIB, 10 * path.stat().st_size)
    np.testing.assert_array_equal(read_npz(path, ["a"])[0], boxes)


def test_crafted_array(path):
    for version in ((1, 0), (2, 0)):
        write(path, npy((2, 3), "<f4", GRID.tobytes(), version))
        np.testing.assert_array_equal(read_npz(path, ["a"])[0], GRID)


def test_zip_bomb(path):
    """64 KB of packed zeros that would be 64 MiB."""
    count = 16 * MIB
    data = npy((count,), "<f4", bytes(4 * count))
    write(path, data, zipfile.ZIP_DEFLATED)
    size = path.stat().st_size
    assert size < MIB // 8
    assert f"claim {len(data)} bytes, the file has {size}" in refusal(path)


def test_many_arrays_of_the_same_bytes(path):
    """The archive's directory names the same entry a thousand times."""
    names = [f"a{number}" for number in range(1000)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy((MIB // 64,), "<f4", bytes(MIB // 16)))
        for name in names:
            twin = zipfile.ZipInfo(f"{name}.npy")
            first = archive.getinfo("a.npy")
            for key in ("header_offset", "CRC", "compress_size", "file_size"):
                setattr(twin, key, getattr(first, key))
            archive.filelist.append(twin)
    assert "arrays claim" in refusal(path, names)


@pytest.mark.parametrize(
    ("shape", "dtype", "data", "problem"),
    [
        ((1 << 40,), "<f4", bytes(8), "damaged"),
        ((2,), "<f4", bytes(7), "damaged"),
        ((-2, -1), "<f4", bytes(8), "damaged"),
        ((2,), "|S4", bytes(8), r"expected numbers or text, found type \|S4"),
        ((1,), "|O", b"N.", "damaged"),
        ((2,), "<c8", bytes(16), "found type complex64"),
        ((1,), [("x", "<f4")], bytes(4), "found type"),
        ((2.0,), "<f4", bytes(8), "damaged"),
        ((2,), "f4; import os", bytes(8), "damaged"),
    ],
)
def test_claims_of_a_header(path, shape, dtype, data, problem):
    write(path, npy(shape, dtype, data))
    # NumPy reserves what the shape asks for, but the bytes run out before it is used.
    with pytest.raises(NpzError, match=problem):
        read_npz(path, ["a"])


def test_long_header(path):
    # Of version 2 a header may be of 4 GiB.
    header = b"\x93NUMPY\x02\x00" + (MIB * 3000).to_bytes(4, "little")
    write(path, header + b"{" + bytes(100))
    assert "damaged" in refusal(path)
    write(path, b"\x93NUMPY\x07\x00" + bytes(100))
    assert "damaged" in refusal(path)


def test_other_packing(path):
    # LZMA's decoder takes as much as the file tells it to.
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        write(path, npy((2, 3), "<f4", GRID.tobytes()), kind)
        assert "stored or deflated" in refusal(path)


def test_other_files(path):
    np.savez(path, b=GRID)
    assert refusal(path, ["a", "b", "c"]) == (
        "expected the arrays a, b, c, found no a, c"
    )
    for content in (b"", b"text", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)):
        path.write_bytes(content)
        refusal(path)
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        read_npz(path, ["a"])


def test_damage_has_one_kind_of_error(path):
    stream = io.BytesIO()
    np.savez_compressed(stream, a=GRID, b=np.array(["x", "yz"]))
    sound, rng = stream.getvalue(), random.Random(0)
    refused = 0
    for _ in range(400):
        data = bytearray(sound[: rng.choice((len(sound), rng.randrange(len(sound))))])
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            read_npz(path, ["a", "b"])
        except (NpzError, OSError):
            refused += 1
    assert refused > 200
