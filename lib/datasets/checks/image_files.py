"""Read all image files, and compare them with their annotations."""

import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path

from PIL import Image

from ...utils.monitoring.progress import Progress
from ..likeness import look_of
from ..loading.channels import read_channels, read_shown
from ..loading.images import ImageError
from ..loading.orientation import orientation_of
from .entries import Defect, Entry, FileFacts


def inspect_files(entries: Iterable[Entry], *, pool: Executor) -> None:
    """Fill the facts of all entries; read each file once."""
    paths = list(dict.fromkeys(entry.path for entry in entries))
    facts = {}
    with Progress(len(paths), log_every=max(len(paths) // 5, 1)) as progress:
        for done, found in enumerate(pool.map(inspect_file, paths), start=1):
            facts[paths[done - 1]] = found
            progress.update(done, images=1)
    for entry in entries:
        entry.facts = facts[entry.path]


def inspect_file(path: Path) -> FileFacts:
    """Read a whole image file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return FileFacts(problem=str(error.strerror))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        pixels = read_shown(path)
        if path.suffix.lower() == ".npy":
            channels, orientation = read_channels(path).shape[2], 1
        else:
            with Image.open(io.BytesIO(data)) as image:
                channels, orientation = _channels(image), orientation_of(image)
    except (ImageError, OSError, ValueError, SyntaxError) as error:
        problem = str(error).removeprefix(f"{path}: ")
        return FileFacts(digest=digest, problem=problem)
    gradient_hash, thumbnail = look_of(pixels)
    height, width = pixels.shape[:2]
    return FileFacts(
        *(width, height, channels, orientation, digest, gradient_hash, thumbnail)
    )


def _channels(image: Image.Image) -> int:
    if image.mode == "P":
        return 4 if "transparency" in image.info else 3
    return len(image.getbands())


def check_files(entries: Iterable[Entry]) -> list[Defect]:
    """Find unreadable, rotated and wrongly annotated files after `inspect_files`."""
    defects = []
    for entry in entries:
        facts, file = entry.facts, entry.path
        if facts.problem:
            if not entry.splits:
                continue  # in no split, so training never reads it
            missing = not facts.digest and not file.exists()
            kind = "missing image" if missing else "unreadable image"
            defects.append(Defect(kind, file, facts.problem, entry))
            continue
        stored = f"{facts.width} x {facts.height}"
        written = f"{entry.width} x {entry.height}"
        if facts.orientation != 1:
            frame = "the turned picture" if entry.turned else "the picture as stored"
            detail = (
                f"orientation {facts.orientation}, stored {stored}, annotated on "
                f"{frame}"
            )
            kind = "stated EXIF rotation" if entry.states_turn else "EXIF rotation"
            defects.append(Defect(kind, file, detail, entry))
        differ = (entry.width, entry.height) != (facts.width, facts.height)
        if min(entry.width, entry.height) > 0 and differ and not entry.turned:
            swapped = (entry.height, entry.width) == (facts.width, facts.height)
            detail = f"{written} in the annotation, {stored} in the file"
            detail += " (swapped)" if swapped else ""
            defects.append(Defect("wrong size", file, detail, entry))
        if entry.depth and entry.depth != facts.channels:
            detail = f"{entry.depth} in the annotation, {facts.channels} in the file"
            defects.append(Defect("wrong channel count", file, detail, entry))
    return defects
