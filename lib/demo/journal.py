"""The record of finished results in a folder, with which a long run resumes."""

import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.exports.objects import LabelledBox, LabelledPicture
from ..detector.coco_rows import coco_row
from ..evaluation.detection_tables import TableRow, write_table
from ..utils.closeable import Closeable
from ..utils.files import atomic_path, remove_stale, write_atomic
from ..utils.locks import HeldElsewhereError, take_lock
from .sources import Item, unused_name

logger = logging.getLogger(__name__)

DETECTIONS = "detections.jsonl"
SETTINGS = "demo.json"
_HEAD = ("source", "bytes", "modified", "name", "output", "json")


class Journal(Closeable):
    """The detections of a folder, a line of JSON for each picture or video.

    A line is added once all other files of its picture are complete. So a killed
    process leaves at most an incomplete last line, which is removed, and that picture
    is done again.

    Attributes:
        unfinished: folder for files that are being written, empty at first.

    Args:
        folder: made if missing.
        settings: what the detections depend on. Results of other settings are replaced.

    Raises:
        ValueError: another process writes into the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.unfinished = folder / ".unfinished"
        self._path = folder / DETECTIONS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = take_lock(folder / ".lock")
        except HeldElsewhereError as error:
            raise ValueError(
                f"{folder}: another demo writes there ({error}); wait for it, or give "
                "another --output"
            ) from error
        except OSError as error:
            raise ValueError(
                f"{folder}: expected a folder to write to, cannot ({error.strerror}); "
                "give another --output"
            ) from error
        shutil.rmtree(self.unfinished, ignore_errors=True)
        remove_stale(folder)
        self._begin(dict(settings))
        self._lines = self._read()
        self._file = self._path.open("a", encoding="utf-8")

    def settle(self, items: Sequence[Item]) -> list[Item]:
        """Return items named as their earlier results, or else by an unused name."""
        taken = {line["name"].lower() for line in self._lines.values()}
        settled = []
        for item in items:
            line = self._lines.get(item.source)
            name = line["name"] if line else unused_name(Path(item.output), taken)
            settled.append(item._replace(output=name))
        return settled

    def is_done(self, item: Item, *, drawn: bool, as_json: bool) -> bool:
        """Return whether all requested files of an unchanged item exist."""
        line = self._lines.get(item.source)
        if line is None or _stamp(item).items() - line.items():
            return False
        wanted = [line["output"]] * drawn + [line["json"]] * as_json
        return all(file and (self.folder / file).is_file() for file in wanted)

    def forget(self, items: list[Item]) -> None:
        """Drop the lines of items that will be done again."""
        gone = {item.source for item in items} & self._lines.keys()
        if not gone:
            return
        self._file.close()
        with atomic_path(self._path) as temporary, self._path.open("rb") as old:
            kept = (line for line in old if json.loads(line)["source"] not in gone)
            with temporary.open("wb") as new:
                new.writelines(kept)
        for source in gone:
            del self._lines[source]
        self._file = self._path.open("a", encoding="utf-8")

    def add(
        self,
        item: Item,
        found: Mapping[str, Any],
        *,
        output: str | None,
        json_file: str | None,
    ) -> None:
        """Record that an item is done."""
        names = {"name": item.output, "output": output, "json": json_file}
        head = _stamp(item) | names
        self._file.write(json.dumps({**head, **found}) + "\n")
        self._file.flush()
        self._lines[item.source] = head

    def write_whole(self, path: Path) -> None:
        """Write all lines as one JSON array, in one step."""
        _write_array(path, map(json.dumps, self._entries()))

    def write_out(self, path: Path, category_ids: Sequence[int]) -> None:
        """Write the detections in all pictures: a table in CSV, or COCO's results.

        Args:
            path: the file, written in one step; the suffix says which.
            category_ids: id of each class, the background's first.
        """
        if path.suffix == ".csv":
            write_table(path, self._table_rows())
        else:
            _write_array(path, map(json.dumps, self._coco_rows(category_ids)))

    def labelled(self) -> Iterator[LabelledPicture]:
        """Yield the pictures with their boxes, named as below their folder."""
        for line in self._entries():
            if "detections" not in line:  # a video
                continue
            boxes = (
                LabelledBox(found["name"], tuple(found["box"]), found["score"])
                for found in line["detections"]
            )
            name, width, height = _own_name(line), line["width"], line["height"]
            yield LabelledPicture(name, width, height, tuple(boxes))

    def _entries(self) -> Iterator[dict[str, Any]]:
        with self._path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def _table_rows(self) -> Iterator[TableRow]:
        for line in self._entries():
            image = _own_name(line), line["width"], line["height"]
            for found in line.get("detections", ()):  # a video has none here
                yield TableRow(*image, found["name"], found["score"], *found["box"])

    def _coco_rows(self, category_ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        for line in self._entries():
            stem = Path(line["name"]).stem
            numbered = stem.isascii() and stem.isdecimal() and len(stem) <= 18
            image_id = int(stem) if numbered else line["name"]  # as COCO's files are
            for found in line.get("detections", ()):  # a video has none here
                yield coco_row(found, image_id, category_ids[found["label"]])

    def close(self) -> None:
        """Release the folder."""
        self._file.close()
        shutil.rmtree(self.unfinished, ignore_errors=True)
        self._lock.release()

    def _begin(self, settings: dict[str, Any]) -> None:
        """Drop the record of results of other settings."""
        path = self.folder / SETTINGS
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            before = None
        if before == settings:
            return
        if isinstance(before, dict) and self._path.exists():
            changed = [key for key in settings if before.get(key) != settings[key]]
            logger.warning(
                "%s holds results of other settings (%s): they are made anew",
                self.folder,
                ", ".join(changed) or "of an older version",
            )
        self._path.unlink(missing_ok=True)
        write_atomic(path, json.dumps(settings, indent=2) + "\n")

    def _read(self) -> dict[str, dict[str, Any]]:
        """Read the start of each line by source, and remove an incomplete last line."""
        lines: dict[str, dict[str, Any]] = {}
        whole = 0
        self._path.touch()
        with self._path.open("r+b") as file:
            for line in file:
                try:
                    head = json.loads(line)
                    head = {key: head[key] for key in _HEAD if key in head}
                    lines[head["source"]] = head
                except (ValueError, KeyError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
            else:
                return lines
            file.truncate(whole)
        return self._read()


def _write_array(path: Path, texts: Iterable[str]) -> None:
    """Write JSON values as an array, one a line, in one step."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        separator = "["
        for text in texts:
            file.write(f"{separator}\n{text}")
            separator = ","
        file.write("[]\n" if separator == "[" else "\n]\n")


def _own_name(line: Mapping[str, Any]) -> str:
    """Return the path of a picture below its folder."""
    name: str = line["name"]
    if line["source"].lower().endswith(".png"):
        return name
    return name.removesuffix(".png")  # of a picture that is written as PNG


def _stamp(item: Item) -> dict[str, Any]:
    """Return the identity of a source, and the version of its file."""
    stamp: dict[str, Any] = {"source": item.source}
    if item.kind != "camera":
        try:
            state = os.stat(item.source)
        except OSError:
            return stamp
        stamp |= {"bytes": state.st_size, "modified": state.st_mtime_ns}
    return stamp
