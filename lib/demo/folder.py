"""Run a detector over many sources into one folder; a stopped run can resume."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.exports.written_labels import write_labels
from ..detector import Detector
from ..detector.result import class_labels
from ..engine.stop_signals import Interrupted, stop_signals
from ..utils.files import remove_stale, sha256_of, write_atomic
from ..weights.class_names import coco_category_ids
from .filming import film_item
from .journal import Journal
from .run import Demo, DemoOptions
from .sources import Item
from .tracking import import_tracker
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
    options: DemoOptions,
    show: bool = False,
    out: Path | None = None,
    exports: Sequence[str] = (),
) -> bool:
    """Detect objects in the items without results; return whether all have succeeded.

    Args:
        settings: what the detections depend on, beside threshold and classes.
        out: file for the detections in all pictures of the folder: COCO's results, or
            a table in ``.csv``.
        exports: formats for labelling tools to write these to, words of `LABEL_FILES`.

    Raises:
        Interrupted: a signal stopped the run; its results are kept.
        ValueError: no display, an unknown class, or the folder cannot be used.
        OSError: the results cannot be written.
    """
    # Check everything before earlier results are dropped.
    if options.classes is not None:
        class_labels(options.classes, detector.classes)
    if options.track:
        import_tracker()
    window = Window() if show else None
    classes = sorted(options.classes) if options.classes is not None else None
    settings = {**settings, "threshold": options.threshold, "classes": classes}
    settings |= {"track": options.track, "mot": options.mot}
    with Journal(folder, settings) as journal, stop_signals() as stop:
        items = journal.settle(items)
        left = [
            item
            for item in items
            if not journal.is_done(item, drawn=options.drawn, as_json=options.as_json)
        ]
        if len(left) < len(items):
            done = len(items) - len(left)
            logger.info("%d of %d are in %s already", done, len(items), folder)
        missing, failed = 0, {}
        if left:
            demo = Demo(detector, journal, options, window, stop)
            missing = len(left) - _detect_all(demo, items, left)
            failed = demo.failed
        good = _finish(journal, failed, options.as_json)
        if out is not None:
            journal.write_out(out, coco_category_ids(detector.classes))
        if exports:
            pictures = list(journal.labelled())
            write_labels(folder, exports, pictures, detector.classes[1:])
    if missing:
        raise Interrupted(
            f"stopped with {missing} of {len(items)} to do; the same command resumes "
            "from there"
        )
    return good


def checkpoint_settings(checkpoint: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Return the identity of a detector: the file's SHA-256, and overrides."""
    return {
        "checkpoint": checkpoint.name,
        "sha256": sha256_of(checkpoint),
        "overrides": list(overrides),
    }


def _detect_all(demo: Demo, items: Sequence[Item], left: list[Item]) -> int:
    """Process items, pictures first; return how many, fewer if stopped."""
    folder = demo.journal.folder
    demo.journal.forget(left)
    for place in {(folder / item.output).parent for item in left}:
        remove_stale(place)
    pictures = [item for item in left if item.kind == "picture"]
    before = sum(item.kind == "picture" for item in items) - len(pictures)
    try:
        done = demo.detect_pictures(pictures, before=before)
        for item in left:
            if item.kind != "picture" and not demo.stopped():
                done += film_item(demo, item)
        return done
    except BaseException:
        logger.warning("ended early; the same command resumes from there")
        raise
    finally:
        if demo.window is not None:
            demo.window.close()
        common = demo.found.most_common(10)
        kinds = ", ".join(f"{name} {count}" for name, count in common) or "none"
        logger.info("%d done, into %s; found: %s", demo.finished, folder, kinds)


def _finish(journal: Journal, failed: Mapping[str, str], as_json: bool) -> bool:
    """Write the files about all items, and log those that failed."""
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
