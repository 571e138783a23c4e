"""Read videos and cameras, and write videos, by OpenCV."""

import logging
import math
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from ..utils.closeable import Closeable
from ..utils.drawing import Picture
from ..utils.files import atomic_path

logger = logging.getLogger(__name__)

_DEFAULT_FPS = 25.0
_CODECS = (("mp4v", ".mp4", "MPEG-4"), ("MJPG", ".avi", "Motion JPEG"))
_WHOLE = 0.95  # of the announced frames, whose number is an estimate

# Our own errors report bad files. FFmpeg reads this when the first video is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class VideoError(ValueError):
    """A video or camera cannot be read; the message names it."""


class MissingCodecError(ValueError):
    """This OpenCV cannot write videos."""


class VideoInput(Closeable):
    """Read the frames of a video file or of a camera, upright.

    Attributes:
        fps: frames per second.
        announced: number of frames by the header; 0 for a camera, or if unknown.

    Args:
        source: a file, or the number of a camera.

    Raises:
        VideoError: it cannot be opened.
    """

    def __init__(self, source: Path | int) -> None:
        self._name = str(source) if isinstance(source, Path) else f"camera {source}"
        self._camera = isinstance(source, int)
        if isinstance(source, Path):
            if not source.is_file():
                raise VideoError(f"{source}: no such file; check the path")
            if not source.stat().st_size:
                raise VideoError(
                    f"{source}: expected a video, found an empty file; fetch it again"
                )
        with _silence():
            self._capture = cv2.VideoCapture(
                source if isinstance(source, int) else _for_opencv(source)
            )
        if not self._capture.isOpened():
            advice = (
                "OpenCV cannot open it; the file is damaged or of a codec that this "
                "OpenCV does not read: convert it, e.g. ffmpeg -i FILE out.mp4"
            )
            if self._camera:
                advice = (
                    "cannot open it; give the number of a camera that is not in use "
                    "(on Linux N stands for /dev/videoN, which must be readable)"
                )
            kind = "camera" if self._camera else "video"
            raise VideoError(f"{self._name}: expected a {kind}, {advice}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps <= 240 else _DEFAULT_FPS
        if self.fps != fps and not self._camera:
            logger.warning(
                "%s claims %g frames per second; using %g", self._name, fps, self.fps
            )
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        known = math.isfinite(count) and 0 < count < 1e9 and not self._camera
        self.announced = int(count) if known else 0

    def frames(self) -> Iterator[Picture]:
        """Yield ``(H, W, 3)`` RGB frames.

        Raises:
            VideoError: there is none, or they end long before the announced number.
        """
        count = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            count += 1
            yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)
        if self._camera:
            raise VideoError(f"{self._name} gives no more frames; is it still there?")
        if not count or count < _WHOLE * self.announced:
            raise VideoError(
                f"{self._name}: expected {self.announced or 'some'} frames, found "
                f"{count}; the file is cut short or damaged, fetch it again"
            )

    def close(self) -> None:
        """Release the file or camera."""
        self._capture.release()


class VideoOutput(Closeable):
    """Write frames to a video file, which gets its name when it is complete.

    Args:
        unfinished: folder of files being written; the caller empties it.
        size: height and width in pixels. An odd one loses its last row or column.

    Raises:
        MissingCodecError: this OpenCV has no encoder.
        VideoError: the folder's name is not UTF-8.
    """

    def __init__(self, unfinished: Path, *, fps: float, size: tuple[int, int]) -> None:
        unfinished.mkdir(parents=True, exist_ok=True)
        height, width = size
        if height % 2 or width % 2:
            logger.warning(
                "OpenCV's encoders take even sizes only: the video shows %d x %d of "
                "the %d x %d pixels",
                width // 2 * 2,
                height // 2 * 2,
                width,
                height,
            )
        self._fps = fps
        self._written = 0
        for code, suffix, name in _CODECS:
            self._path = unfinished / f"video{suffix}"
            with _silence():
                self._writer = cv2.VideoWriter(
                    *(_for_opencv(self._path), cv2.VideoWriter.fourcc(*code)),
                    *(fps, (width, height)),
                )
            if self._writer.isOpened():
                if suffix != _CODECS[0][1]:
                    logger.warning(
                        "this OpenCV has no %s codec; writing %s (%s)",
                        _CODECS[0][2],
                        name,
                        suffix,
                    )
                self.suffix = suffix
                return
        raise MissingCodecError(
            f"cannot write a video of {width} x {height} at {fps:g} frames per second: "
            f"this OpenCV has neither {' nor '.join(name for *_, name in _CODECS)}. "
            "pip install opencv-python-headless brings both, or give --no-pictures "
            "for JSON alone"
        )

    def write(self, frame: Picture, *, until: float | None = None) -> None:
        """Add a frame.

        Args:
            frame: ``(H, W, 3)`` RGB of the size given.
            until: seconds since the start; the frame is repeated until then, so that
                a camera's video plays in real time.
        """
        repeats = 1 if until is None else round(until * self._fps) - self._written
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        for _ in range(repeats):
            self._writer.write(bgr)
        self._written += max(repeats, 0)

    def finish(self, path: Path) -> Path:
        """End the video and rename it; return the path with the codec's suffix."""
        self.close()
        path = path.with_suffix(self.suffix)
        with atomic_path(path) as temporary:
            os.replace(self._path, temporary)
        return path

    def close(self) -> None:
        """End the video."""
        self._writer.release()


def _for_opencv(path: Path) -> str:
    """Return the absolute path, which OpenCV needs in UTF-8."""
    text = os.path.abspath(path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise VideoError(
            f"{path}: expected a path in UTF-8, which OpenCV needs; rename the file or "
            "its folder"
        ) from error
    return text


class _silence(Closeable):
    """Suppress OpenCV's own messages, since the errors here say more."""

    def __init__(self) -> None:
        self._level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def close(self) -> None:
        cv2.utils.logging.setLogLevel(self._level)
