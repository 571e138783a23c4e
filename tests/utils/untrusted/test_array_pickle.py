import builtins
import copyreg
import os
import pickle
import re
import struct
from collections import OrderedDict

import numpy as np
import pytest
from faster_rcnn.utils.untrusted.array_pickle import ArrayPickleError, read_arrays

GRID = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
ARRAYS = {
    "plain": GRID,
    "fortran": np.asfortranarray(GRID),
    "permuted": GRID.transpose(1, 2, 0),
    "strided": GRID[:, ::2],
    "empty": np.zeros((0, 4), np.float32),
    "point": np.array(2.5),
    "half": GRID.astype(np.float16),
    "double": GRID.astype(np.float64),
    "big endian": GRID.astype(">f4"),
    "bytes": np.arange(256, dtype=np.uint8),
    "negative": np.arange(-3, 3, dtype=np.int64),
    "truth": np.array([True, False]),
}


@pytest.fixture
def file(tmp_path):
    def save(content):
        path = tmp_path / "file.pkl"
        path.write_bytes(content)
        return path

    return save


def refusal(path):
    with pytest.raises(ArrayPickleError) as caught:
        read_arrays(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message
    return message


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol(file, protocol):
    shared = GRID + 1
    content = {
        "model": OrderedDict(ARRAYS),
        "list": [shared, shared, 3, None],
        "scalar": np.float32(0.5),
        "author": "somebody",
        "number": 1e300,
        "raw": b"\x00\xff",
    }
    result = read_arrays(file(pickle.dumps(content, protocol=protocol)))
    assert list(result) == list(content)
    assert result["model"].keys() == ARRAYS.keys()
    for name, array in result["model"].items():
        np.testing.assert_array_equal(array, ARRAYS[name], err_msg=name)
        assert array.dtype == ARRAYS[name].dtype.newbyteorder("=")
        assert type(array) is np.ndarray and array.flags.writeable
    assert result["list"][0] is result["list"][1]
    np.testing.assert_array_equal(result["list"][0], shared)
    for key in ("scalar", "author", "number", "raw"):
        assert result[key] == content[key]


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_names_of_numpy_1_and_2(file, core):
    data = pickle.dumps({"x": GRID}, protocol=2)
    assert re.search(rb"numpy\._?core", data)
    result = read_arrays(file(re.sub(rb"numpy\._?core", core, data)))
    np.testing.assert_array_equal(result["x"], GRID)


def test_text_of_python_2(file):
    # {'x': 'A'} with strings of Python 2 (SHORT_BINSTRING).
    assert read_arrays(file(b"\x80\x02}U\x01xU\x01As.")) == {"x": "A"}


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments, state)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch {mark}",)),
        (builtins.eval, ("open({mark!r}, 'w')",)),
        (builtins.getattr, (1, "real")),
        (np.load, ("{mark}",)),
        (np.memmap, ("{mark}", "u1", "w+", 0, (4,))),
        (copyreg._reconstructor, (list, list, [])),
    ],
)
def test_nothing_is_executed(file, tmp_path, protocol, function, arguments):
    mark = tmp_path / "mark"
    arguments = [
        a.format(mark=str(mark)) if isinstance(a, str) else a for a in arguments
    ]
    content = {"x": GRID, "y": Calls(function, *arguments)}
    message = refusal(file(pickle.dumps(content, protocol=protocol)))
    assert function.__name__ in message and "not executed" in message
    assert not mark.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_types_other_than_numbers(file, protocol):
    for array in (
        np.array([object, os], dtype=object)[:1],
        np.array(["text"]),
        np.array([b"text"]),
        np.zeros(2, [("x", "f4"), ("y", "f4")]),
        np.array([1j]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.zeros(2, np.longdouble),
    ):
        refusal(file(pickle.dumps({"x": array}, protocol=protocol)))


def array_pickle(*, shape=(2,), data=b"\x00" * 8, dtype="f4", state=None):
    """A pickled array with these claims about itself."""
    dtype = Calls(np.dtype, dtype, state=state or (3, "<", None, None, None, -1, -1, 0))
    reconstruct = np.zeros(1).__reduce__()[0]
    content = Calls(
        reconstruct, np.ndarray, (0,), b"b", state=(1, shape, dtype, False, data)
    )
    return pickle.dumps({"x": content}, protocol=3)


def test_crafted_array(file):
    np.testing.assert_array_equal(read_arrays(file(array_pickle()))["x"], [0, 0])


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"data": b"\x00" * 7}, "expected 8 bytes"),
        ({"data": b"\x00" * 9}, "expected 8 bytes"),
        ({"shape": (1 << 62, 8)}, "bytes"),
        ({"shape": (-1, -2)}, "shape"),
        ({"shape": [2]}, "shape"),
        ({"shape": (2.0,)}, "shape"),
        ({"data": [1.0, 2.0]}, "as bytes"),
        ({"dtype": "O"}, "'O'"),
        ({"dtype": "O8"}, "'O8'"),
        ({"dtype": "V8"}, "'V8'"),
        ({"dtype": "f4,f4"}, "'f4,f4'"),
        ({"dtype": 3}, "type 3"),
        ({"state": (3, "<", None, ("x",), {"x": 1}, 4, 1, 0)}, "compound"),
        ({"state": (3, "x", None, None, None, -1, -1, 0)}, "compound"),
        ({"state": (3,)}, "description of a type"),
    ],
)
def test_claims_that_do_not_hold(file, claims, text):
    assert text in refusal(file(array_pickle(**claims)))


def test_array_without_content(file):
    reconstruct = np.zeros(1).__reduce__()[0]
    content = {"x": Calls(reconstruct, np.ndarray, (0,), b"b")}
    assert "without content" in refusal(file(pickle.dumps(content, protocol=4)))


def test_functions_cannot_be_changed(file):
    # GLOBAL numpy.dtype, then BUILD with {'_function': None}.
    data = b"\x80\x02cnumpy\ndtype\n}U\x09_functionNsb."
    assert "change a function" in refusal(file(data))
    test_crafted_array(file)


def test_functions_are_no_classes(file):
    # GLOBAL numpy.ndarray, then NEWOBJ with the arguments (4,).
    refusal(file(b"\x80\x02cnumpy\nndarray\nK\x04\x85\x81."))
    refusal(file(b"\x80\x02cnumpy\nndarray\nK\x04\x85R."))


def test_reference_to_data_elsewhere(file):
    assert "reference" in refusal(file(b"\x80\x02}U\x01xU\x03pidQs."))
    assert "reference" in refusal(file(b"\x80\x02Ppid\n."))


def test_buffers_elsewhere(file):
    buffers = []
    data = pickle.dumps({"x": GRID}, protocol=5, buffer_callback=buffers.append)
    assert buffers
    refusal(file(data))


@pytest.mark.parametrize("axes", [(0, 0, 1), (0, 1), (0, 1, 5), "abc", 3])
def test_order_of_axes(file, axes):
    frombuffer = GRID.transpose(1, 2, 0).__reduce_ex__(5)[0]
    dtype = np.dtype("f4")
    content = Calls(frombuffer, GRID.tobytes(), dtype, (2, 3, 4), "K", axes)
    refusal(file(pickle.dumps({"x": content}, protocol=5)))


@pytest.mark.parametrize("protocol", range(2, 6))
def test_truncated(file, protocol):
    data = pickle.dumps({"model": ARRAYS, "author": "x"}, protocol=protocol)
    for end in range(0, len(data), 97):
        refusal(file(data[:end]))


def test_damaged(file):
    data = bytearray(pickle.dumps({"model": ARRAYS}, protocol=4))
    rng = np.random.default_rng(0)
    for _ in range(300):
        copy = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            copy[place] = rng.integers(0, 256)
        path = file(bytes(copy))
        try:
            read_arrays(path)
        except ArrayPickleError as error:
            assert str(path) in str(error)


def test_no_pickle(file):
    for data in (b"", b"\x80", b"no pickle at all", b"<html>", os.urandom(0) + b"."):
        refusal(file(data))
    # A length that promises far more than there is.
    refusal(file(b"\x80\x04B" + struct.pack("<I", 1 << 30) + b"x."))


def test_self_reference(file):
    content = []
    content.append(content)
    result = read_arrays(file(pickle.dumps(content)))
    assert result[0] is result


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "gone.pkl")


def test_few_bytes_that_ask_for_much_memory(file):
    array = pickle.dumps(np.zeros(1 << 20, np.uint8), protocol=2)
    # An entry of the reader's memory numbered in the billions takes 8 bytes for each.
    numbered = array[:-1] + b"r" + struct.pack("<I", 1 << 30) + b"."
    assert "found the number 1073741824" in refusal(file(numbered))
    # Data said to be longer than the file.
    long = b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"x."
    assert "truncated or damaged" in refusal(file(long))
    assert "instructions" in refusal(file(b"\x80\x02" + b"N0" * 1_000_001 + b"N."))


def test_same_bytes_for_many_arrays(file):
    """One megabyte, remembered, as the content of a hundred arrays."""
    # An array's construction up to its type, which is the first thing remembered.
    data = b"\x80\x04\x8e" + struct.pack("<Q", 1 << 20) + bytes(1 << 20) + b"\x940"
    dtype = pickle.dumps(np.dtype(np.uint8), protocol=4)[2:-1].replace(b"\x94", b"")
    one = (
        b"cnumpy._core.numeric\n_frombuffer\n(h\x00"
        + dtype[dtype.index(b"\x8c") :]
        + b"(J"
        + struct.pack("<i", 1 << 20)
        + b"t\x8c\x01CtR"
    )
    assert len(read_arrays(file(data + b"](" + one * 3 + b"e."))) == 3
    message = refusal(file(data + b"](" + one * 100 + b"e."))
    assert "larger than the file could hold" in message
