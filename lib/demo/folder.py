"""Run a detector over many sources into one folder; a stopped run can resume."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..detector import Detector
from ..detector.result import class_labels
from ..engine.stop_signals import Interrupted, stop_signals
from ..utils.files import remove_stale, write_atomic
from .filming import film_item
from .journal import Journal
from .run import Demo, Wishes
from .sources import Item
from .window import Window

logger = logging.getLogger(__name__)

FAILED = "failed.txt"
WHOLE = "detections.json"
_SHOWN = 20  # bad files named on the console


def detect_into(
    folder: Path,
    items: Sequence[Item],
    detector: Detector,
    *,
    settings: Mapping[str, Any],
    wishes: Wishes,
    show: bool = False,
) -> bool:
    """Detect objects in all items that the folder has no results of yet.

    Args:
        folder: of the results.
        items: from `find_items`.
        detector: finds objects.
        settings: what the detections depend on, beside the wishes' threshold and
            classes.
        wishes: what is wanted.
        show: show results in a window too.

    Returns:
        Whether all went well; else bad files were named.

    Raises:
        Interrupted: a signal stopped it; what is done is kept.
        ValueError: no display, an unknown class, or the folder cannot be used.
        OSError: the results cannot be written.
    """
    # What can be wrong is found before earlier results are put out of force.
    if wishes.classes is not None:
        class_labels(wishes.classes, detector.classes)
    window = Window() if show else None
    classes = sorted(wishes.classes) if wishes.classes is not None else None
    settings = {**settings, "threshold": wishes.threshold, "classes": classes}
    with Journal(folder, settings) as journal, stop_signals() as stop:
        items = journal.settle(items)
        drawn, as_json = wishes.drawn, wishes.as_json
        left = [
            item
            for item in items
            if not journal.is_done(item, drawn=drawn, as_json=as_json)
        ]
        if len(left) < len(items):
            done = len(items) - len(left)
            logger.info("%d of %d are in %s already", done, len(items), folder)
        if not left:
            return _finish(journal, {}, as_json)
        demo = Demo(detector, journal, wishes, window, stop)
        journal.forget(left)
        for place in {(folder / item.output).parent for item in left}:
            remove_stale(place)
        pictures = sum(item.kind == "picture" for item in items)
        before = pictures - sum(item.kind == "picture" for item in left)
        try:
            missing = len(left) - _detect_all(demo, left, before)
        except BaseException:
            _tell(demo, folder)
            logger.warning("ended early; the same command goes on from there")
            raise
        finally:
            if window is not None:
                window.close()
        _tell(demo, folder)
        good = _finish(journal, demo.failed, as_json)
    if missing:
        raise Interrupted(
            f"stopped with {missing} of {len(items)} to do; the same command goes on "
            "from there"
        )
    return good


def checkpoint_settings(checkpoint: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return what identifies a detector: the file's SHA-256, and overrides."""
    digest = hashlib.sha256()
    with checkpoint.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {
        "checkpoint": checkpoint.name,
        "sha256": digest.hexdigest(),
        "overrides": list(overrides),
    }


def _detect_all(demo: Demo, items: Sequence[Item], before: int) -> int:
    """Work through items, pictures first; returns how many, fewer if stopped."""
    pictures = [item for item in items if item.kind == "picture"]
    done = demo.detect_pictures(pictures, before=before)
    for item in items:
        if item.kind != "picture" and not demo.stopped():
            done += film_item(demo, item)
    return done


def _tell(demo: Demo, folder: Path) -> None:
    kinds = ", ".join(f"{name} {count}" for name, count in demo.found.most_common(10))
    logger.info("%d done, into %s; found: %s", demo.finished, folder, kinds or "none")


def _finish(journal: Journal, failed: Mapping[str, str], as_json: bool) -> bool:
    """Write what tells of all items, and name those that failed."""
    if as_json:
        journal.write_whole(journal.folder / WHOLE)
    place = journal.folder / FAILED
    place.unlink(missing_ok=True)
    if not failed:
        return True
    # Names as the file system has them, which need not be UTF-8.
    write_atomic(place, os.fsencode("".join(f"{source}\n" for source in failed)))
    for text in list(failed.values())[:_SHOWN]:
        logger.error("%s", text)
    more = len(failed) - _SHOWN
    rest = f", {more} of them not shown here" if more > 0 else ""
    logger.error("%d failed%s; listed in %s", len(failed), rest, place)
    return False
