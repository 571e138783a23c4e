"""Data sets with an annotation file for each image, read through an index."""

import abc
import collections
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ..index.index_files import index_folders, load_index, same_sizes, settings_key
from ..index.index_format import Index
from ..index.indexed_records import Part, Records
from ..records import Dataset, Drops


@dataclass(frozen=True)
class AnnotationFiles:
    """The small files, one per image, that one index is made from."""

    folder: Path  # folder of the annotations, for errors
    paths: Sequence[Path]  # the files; a file may be missing
    listed: Any  # further values that determine the index, as JSON values
    expected: str  # content of a file, for errors

    def content(self) -> str:
        """Return the hash of everything that goes into the index."""
        digest = hashlib.sha256()
        collections.deque(self._read(digest), maxlen=0)
        return str(digest.hexdigest())

    def read(self, content: str) -> Iterator[bytes | None]:
        """Yield the bytes of each file, None if it does not exist.

        Args:
            content: expected result of `content`; "" to accept any.

        Raises:
            ValueError: a file cannot be read, or some file has changed.
        """
        digest = hashlib.sha256()
        yield from self._read(digest)
        if content and digest.hexdigest() != content:
            raise ValueError(
                f"{self.folder}: expected finished files, but one changed while they "
                "were read; start again when they are complete"
            )

    def _read(self, digest: Any) -> Iterator[bytes | None]:
        digest.update(json.dumps(self.listed).encode("utf-8", "surrogatepass"))
        for path in self.paths:
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                data = None
            except OSError as error:
                raise ValueError(
                    f"{path}: expected {self.expected}, cannot read it ({error}); "
                    "restore the file"
                ) from error
            digest.update(b"-" if data is None else hashlib.sha256(data).digest())
            yield data


@dataclass(frozen=True)
class SplitFiles(abc.ABC):
    """The files of a split: inputs of an index, which `pack` makes of them."""

    folder: Path  # folder of the data set
    image_folder: Path  # folder that the index's image names are relative to
    split: str  # name of the split

    @property
    @abc.abstractmethod
    def files(self) -> AnnotationFiles:
        """The annotation files, and the names that the index depends on."""

    @abc.abstractmethod
    def pack(self, content: str, file: BinaryIO, scratch: Path | None) -> None:
        """Parse the files, whose hash was `content`, and write their index."""

    def check(self, index: Index) -> bool:
        """Return whether the sizes read from images still hold."""
        return same_sizes(index, self.image_folder)

    def read(
        self,
        name: str,
        settings: Sequence[object],
        drops: Drops,
        classes: Iterable[str] | None = None,
    ) -> Dataset:
        """Read the split for VOC's evaluation; parse its files if they are not indexed.

        Args:
            settings: the reader's arguments, which the index depends on.
            drops: faults found so far, logged with those of the files.
            classes: class names without the background; if None, the index has them.
        """
        index = load_index(
            index_folders(self.folder),
            self.split,
            settings_key(*settings),
            self.files.content,
            self.pack,
            check=self.check,
        )
        drops.update(index.facts["drops"])
        if classes is None:
            classes = index.facts["classes"]
        records = Records([Part(index, self.image_folder)])
        found = Dataset.with_voc_rules(name, classes, records, drops.log(name))
        return replace(found, has_masks=index.has_masks, keypoints=index.keypoints)
