"""Videos and cameras: each frame detected and drawn, with a line of JSON."""

import contextlib
import itertools
import json
import logging
import time
from pathlib import Path
from typing import IO, Any

from ..detector import Result
from ..utils.closeable import Closeable
from ..utils.drawing import Picture
from ..utils.files import atomic_path
from ..utils.monitoring.progress import Progress
from .run import Demo
from .sources import Item
from .tracking import Tracker, mot_lines
from .videos import MissingCodecError, VideoError, VideoInput, VideoOutput

logger = logging.getLogger(__name__)

_LOG_LINES = 20  # of a video
_LOG_SECONDS = 10  # between two lines of a camera


def film_item(demo: Demo, item: Item) -> bool:
    """Write a video with boxes, and each frame's detections; return whether it ended.

    The files get their names when they are complete. What exists of a video that is cut
    short or stopped becomes ``NAME.partial.mp4``, and is not recorded as done. A camera
    has no end of its own, so its recording is complete whenever it stops.

    Raises:
        MissingCodecError: OpenCV cannot write videos here.
        OSError: the disk is full, or a similar error.
    """
    camera = item.kind == "camera"
    if camera:  # each recording gets a name of its own
        stem, now = Path(item.output).stem, time.strftime("%Y%m%d-%H%M%S")
        item = item._replace(output=f"{stem}-{now}.mp4")
    logger.info("%s %s", item.kind, item.source)
    problem = ""
    with _Film(demo.journal.unfinished, camera=camera) as film:
        try:
            with VideoInput(int(item.source) if camera else Path(item.source)) as video:
                _frames(demo, video, film)
        except MissingCodecError:
            raise
        except ValueError as error:
            problem = demo.failed[item.source] = str(error)
    ended = bool(camera or problem or film.ended)
    if film.frames:
        with demo.blaming(item):
            _finish(demo, item, film, whole=ended and (camera or not problem))
    return ended


def _frames(demo: Demo, video: VideoInput, film: "_Film") -> None:
    """Detect objects in frames until the source ends or a signal stops it."""
    limit = demo.options.frames if film.camera else None
    total = limit or video.announced
    every = max(1, total // _LOG_LINES) if total else round(_LOG_SECONDS * video.fps)
    film.fps = video.fps
    tracker = None
    if demo.options.track:
        tracker = Tracker(demo.options.threshold, fps=video.fps)
    frames = itertools.islice(video.frames(), limit)
    with contextlib.ExitStack() as stack:
        progress = Progress(total, log_every=every) if total else None
        if progress is not None:
            stack.enter_context(progress)
        while chunk := list(itertools.islice(frames, 1 if film.camera else demo.batch)):
            results = demo.detect(chunk, tracker.threshold if tracker else None)
            for frame, found in zip(chunk, results, strict=True):
                result = tracker.update(found) if tracker else found
                wanted = demo.options.drawn or demo.window is not None
                drawn = result.draw(frame) if wanted else None
                film.add(result, drawn if demo.options.drawn else None)
                demo.found.update(result.names)
                demo.show(drawn, wait=False)
            values = {"found": film.found}
            if progress is not None:
                progress.update(film.frames, images=len(chunk), values=values)
            elif film.frames % every == 0:
                logger.info("%d frames, %d found", film.frames, film.found)
            # A request to stop at the last frame of a file changes nothing.
            if demo.stopped() and film.frames != video.announced:
                return
        film.ended = True


def _finish(demo: Demo, item: Item, film: "_Film", *, whole: bool) -> None:
    """Rename the files, and record the item as done if it is complete."""
    folder = demo.journal.folder
    name = item.output if whole else f"{item.output.removesuffix('.mp4')}.partial.mp4"
    output = json_file = None
    if film.video is not None:
        output = film.video.finish(folder / name).relative_to(folder).as_posix()
    if demo.options.track or demo.options.mot:
        with atomic_path(folder / f"{name.removesuffix('.mp4')}.mot.txt") as temporary:
            film.mot_path.replace(temporary)
    if demo.options.as_json or output is None:
        json_file = f"{name}.jsonl"
        with atomic_path(folder / json_file) as temporary:
            film.path.replace(temporary)
    if whole:
        height, width = film.size
        found = {
            "width": width,
            "height": height,
            "fps": film.fps,
            "frames": film.frames,
            "found": film.found,
        }
        demo.journal.add(item, found, output=output, json_file=json_file)
        demo.finished += 1
        return
    logger.warning(
        "%s: its first %d frames are in %s; the next run begins it anew",
        item.source,
        film.frames,
        folder / (output or json_file or ""),
    )


class _Film(Closeable):
    """The files of a video in progress, and its counts so far."""

    def __init__(self, unfinished: Path, *, camera: bool) -> None:
        unfinished.mkdir(parents=True, exist_ok=True)
        self._unfinished = unfinished
        self.path = unfinished / "frames.jsonl"
        self.mot_path = unfinished / "frames.mot.txt"
        self._lines: IO[str] = self.path.open("w", encoding="utf-8")
        self._mot: IO[str] = self.mot_path.open("w", encoding="utf-8")
        self._start = time.perf_counter()
        self.camera = camera  # whose frames come in real time
        self.video: VideoOutput | None = None
        self.fps = 0.0
        self.frames = 0
        self.found = 0
        self.ended = False
        self.size = (0, 0)

    def add(self, result: Result, drawn: Picture | None) -> None:
        """Add a frame's detections, and its ``(H, W, 3)`` RGB pixels with boxes."""
        if self.size not in ((0, 0), result.size):
            raise VideoError(
                f"frame {self.frames}: expected {self.size[1]} x {self.size[0]} "
                f"pixels as before, found {result.size[1]} x {result.size[0]}; split "
                "the video where its size changes"
            )
        self.size = result.size
        now = time.perf_counter() - self._start if self.camera else None
        if drawn is not None:
            if self.video is None:
                self.video = VideoOutput(
                    self._unfinished, fps=self.fps, size=result.size
                )
            self.video.write(drawn, until=now)
        line: dict[str, Any] = {"frame": self.frames}
        line["seconds"] = self.frames / self.fps if now is None else now
        line["detections"] = result.to_list()
        self._lines.write(json.dumps(line) + "\n")
        self._mot.write(mot_lines(self.frames, result))
        self.frames += 1
        self.found += len(result)

    def close(self) -> None:
        self._lines.close()
        self._mot.close()
        if self.video is not None:
            self.video.close()
