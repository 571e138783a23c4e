"""What a file of torch.save claims, found out before any memory is taken for it.

The file names functions and gives sizes. Here the names stand for replacements that
only look at what they are given, so that the sizes can be held against the file's own:
no storage is longer than the file, and tensors that repeat their numbers (stride 0) do
not add up to more than an ordinary detector.
"""

import io
import math
import mmap
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from .pickle_scan import scan_pickle

LEAST_ALLOWED = 1 << 30
"""Bytes that the tensors of even a small file may claim."""

_ZIP_START = b"PK\x03\x04"
_PICKLE = 1 << 26  # bytes; all but the tensors' numbers
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_SIZES = {
    **dict.fromkeys(("Bool", "Byte", "Char", "Untyped"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}


class SurveyError(ValueError):
    """A file that claims what it does not hold."""


class CodeError(SurveyError):
    """A file that names functions beyond those of tensors."""


def survey_tensors(path: Path) -> None:
    """Make sure that a file of torch.save, new or old format, holds what it claims.

    Raises:
        CodeError: it names a function that tensors and plain values do not need.
        SurveyError: sizes are beyond those of the file.
        Exception: of any kind, for damaged bytes.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if file.read(4) == _ZIP_START:
            _Surveyor(_pickle_of_zip(file, size), size).load()
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # A row of pickles: magic number, version, machine, content, storages' keys.
            first = _Surveyor(_next_pickle(data), size).load()
            if first != _LEGACY_MAGIC:
                return  # a bare pickle, which torch.load does not take
            for _ in range(4):
                _Surveyor(_next_pickle(data), size).load()


def _pickle_of_zip(file: IO[bytes], size: int) -> bytes:
    """The content's pickle, from an archive that is not larger than it seems."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise SurveyError("expected bytes as they are, found them compressed")
        total = sum(entry.file_size for entry in entries)
        if total > size or len({entry.filename for entry in entries}) < len(entries):
            raise SurveyError(
                f"its {len(entries)} entries claim {total} bytes, the file has {size}"
            )
        found = [e for e in entries if e.filename.rpartition("/")[2] == "data.pkl"]
        if len(found) != 1 or found[0].file_size > _PICKLE:
            raise SurveyError(
                f"expected one data.pkl of at most {_PICKLE} bytes, found {len(found)}"
            )
        data = archive.read(found[0])
    scan_pickle(io.BytesIO(data))
    return data


def _next_pickle(data: mmap.mmap) -> bytes:
    start = data.tell()
    scan_pickle(_Limited(data, _PICKLE))
    return data[start : data.tell()]


class _Limited:
    """A stream that ends after so many bytes."""

    def __init__(self, stream: mmap.mmap, limit: int) -> None:
        self._stream = stream
        self._left = limit

    def read(self, n: int = -1, /) -> bytes:
        data = self._stream.read(self._left if n < 0 else min(n, self._left))
        self._left -= len(data)
        return data

    def readline(self) -> bytes:
        data = self._stream.readline()
        self._left -= len(data)
        return data if self._left >= 0 else b""

    def tell(self) -> int:
        return self._stream.tell()


class _Named:
    """A function or type, called with arguments that only are looked at."""

    __slots__ = ("_function", "name")

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise SurveyError("found an attempt to change a function")


class _Value:
    """Anything whose content does not matter; what is done to it has no effect."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Mapping(dict[Any, Any]):
    """An ordered dictionary, the attributes it may have left out."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage:
    """The numbers of tensors: how many, of how many bytes each."""

    __slots__ = ("count", "width")

    def __init__(self, count: int, width: int) -> None:
        self.count = count
        self.width = width

    def __setstate__(self, state: Any) -> None:
        raise SurveyError("found an attempt to change a storage")


class _Surveyor(pickle.Unpickler):
    """Reads a pickle as torch.load does, taking sizes down instead of memory."""

    def __init__(self, data: bytes, size: int) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._size = size
        self._storages: dict[Any, int] = {}  # bytes by key
        self._stored = 0  # bytes, of them all
        self._claimed = 0  # bytes, of all tensors

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module in ("torch", "torch.cuda", "torch.storage"):
            kind = name.removesuffix("Storage")
            if kind != name and kind in _SIZES:
                return _Named(kind, _nothing)
        known: dict[str, Callable[..., Any]] = {
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._tensor,
            "torch._utils._rebuild_parameter": _first,
            "torch._utils._rebuild_parameter_with_state": _first,
            "torch.Size": _value,
            "torch.device": _value,
            "collections.OrderedDict": _Mapping,
            "collections.Counter": _Mapping,
            "builtins.set": _value,
            "_codecs.encode": _value,
        }
        known["__builtin__.set"] = _value  # protocol 2 has Python 2's name
        if full in known:
            return _Named(full, known[full])
        if module == "torch" and name.rstrip("0123456789") in _DTYPES:
            return _Named(full, _nothing)
        raise CodeError(full)

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise SurveyError("expected a storage, found another reference")
        kind, key, _, count = pid[1:5]
        if not isinstance(kind, _Named) or kind.name not in _SIZES:
            raise SurveyError("expected a storage of numbers, found another type")
        if type(count) is not int or count < 0:
            raise SurveyError(f"expected a storage's length, found {type(count)}")
        storage = _Storage(count, _SIZES[kind.name])
        known = self._storages.get(key, 0)
        self._storages[key] = max(count * storage.width, known)
        self._stored += self._storages[key] - known
        if self._stored > self._size:
            raise SurveyError(
                f"its storages, the last of {_short(count)} numbers, do not go into "
                f"{self._size} bytes"
            )
        return storage

    def _tensor(self, storage: Any, offset: Any, size: Any, *_: Any) -> _Value:
        numbers = (offset, *size) if isinstance(size, tuple) else (None,)
        if not isinstance(storage, _Storage) or not all(
            type(n) is int and 0 <= n < 1 << 62 for n in numbers
        ):
            raise SurveyError("expected a tensor's storage and shape, found others")
        self._claimed += math.prod(size) * storage.width
        allowed = max(4 * self._size, LEAST_ALLOWED)
        if self._claimed > allowed:
            raise SurveyError(
                f"its tensors claim more than {allowed} bytes, the file has "
                f"{self._size}; the last is of shape ({', '.join(map(_short, size))})"
            )
        return _Value()


_DTYPES = {
    *("bool", "uint", "int", "float", "bfloat", "half", "double", "long", "short"),
    *("complex", "cfloat", "cdouble"),
}


def _nothing(*_: Any) -> Any:
    raise SurveyError("found a type that is called like a function")


def _value(*arguments: Any) -> _Value:
    if any(isinstance(argument, _Named) for argument in arguments):
        raise SurveyError("found a function among the values")
    return _Value()


def _first(value: Any, *_: Any) -> Any:
    return value


def _short(number: int) -> str:
    return str(number) if number < 10**15 else "10^15 or more"
