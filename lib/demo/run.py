"""Run a detector on images, videos and cameras; results are complete, or absent."""

import contextlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2

from ..datasets.loading.channels import Pixels
from ..datasets.loading.images import Decoded, ImageError
from ..detector import Detector, Result
from ..utils.drawing import Picture, save_image
from ..utils.files import concerns_one_file, write_atomic
from ..utils.monitoring.progress import Progress
from ..utils.shared_cores import adapt_threads
from .journal import Journal
from .picture_input import Read, read_ahead
from .sources import Item
from .window import Window

_LOG_LINES = 20
_CUDA_BATCH = 8


@dataclass(frozen=True)
class DemoOptions:
    """Options of a run.

    Attributes:
        threshold: score above which a detection counts; of each class, if by name.
        classes: names of the classes that count; None for all.
        batch: images or frames per forward pass; None for the device's default.
        frames: number of frames after which a camera ends; None for no end.
        mot: whether to write a video's detections as MOTChallenge's file.
    """

    threshold: float | Mapping[str, float] = 0.5
    classes: Sequence[str] | None = None
    batch: int | None = None
    drawn: bool = True
    as_json: bool = False
    frames: int | None = None
    track: bool = False
    mot: bool = False


@dataclass
class Demo:
    """One run over items.

    Attributes:
        window: where results are shown; None for nowhere.
        stop: returns the name of the signal that asked to stop, "" if none did.
        failed: sources that failed, and why.
        found: detections by class.
    """

    detector: Detector
    journal: Journal
    options: DemoOptions
    window: Window | None = None
    stop: Callable[[], str] = lambda: ""
    failed: dict[str, str] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    _closed: bool = False

    @property
    def batch(self) -> int:
        """Images or frames in one pass."""
        usual = _CUDA_BATCH if self.detector.device.type == "cuda" else 1
        return self.options.batch or usual

    def stopped(self) -> bool:
        """Return whether a signal or the window's key asked to stop."""
        return self._closed or bool(self.stop())

    def detect_pictures(self, items: Sequence[Item], *, before: int) -> int:
        """Write the results of pictures; return how many, fewer if stopped.

        Args:
            items: pictures, with final names.
            before: pictures done before, for the progress.

        Raises:
            OSError: the results cannot be written; those written before are complete.
        """
        total, done = before + len(items), 0
        every = max(1, total // _LOG_LINES)
        read = read_ahead(
            items,
            self.detector.read,
            ahead=2 * self.batch + 2,
            drawn=self.options.drawn or self.window is not None,
        )
        with Progress(total, start=before, log_every=every, early=True) as progress:
            while chunk := list(itertools.islice(read, self.batch)):
                self._picture_batch(chunk)
                done += len(chunk)
                values = {"found": self.found.total(), "failed": len(self.failed)}
                progress.update(before + done, images=len(chunk), values=values)
                if self.stopped():
                    break
        return done

    def _picture_batch(self, chunk: Sequence[tuple[Item, Read | ImageError]]) -> None:
        good: list[tuple[Item, Read]] = []
        for item, picture in chunk:
            if isinstance(picture, ImageError):
                self.failed[item.source] = str(picture)
            else:
                good.append((item, picture))
        if not good:
            return
        try:
            results = self.detect([picture.decoded for _, picture in good])
        except ValueError as error:
            if len(good) == 1:
                self.failed[good[0][0].source] = str(error)
            else:  # find the picture that fails
                for each in good:
                    self._picture_batch([each])
            return
        for (item, picture), result in zip(good, results, strict=True):
            with self.blaming(item):
                self._finish_picture(item, picture.pixels, result)

    @contextlib.contextmanager
    def blaming(self, item: Item) -> Iterator[None]:
        """Record an error within the block that concerns this item alone.

        Raises:
            OSError: an error that other items would meet too, such as a full disk.
        """
        try:
            yield
        except (ValueError, cv2.error, OSError) as error:
            if isinstance(error, OSError) and not concerns_one_file(error):
                raise
            self.failed[item.source] = f"{item.output} cannot be written: {error}"

    def _finish_picture(
        self, item: Item, picture: Pixels | None, result: Result
    ) -> None:
        output = json_file = drawn = None
        if picture is not None:
            drawn = result.draw(picture)
        if self.options.drawn and drawn is not None:
            output = item.output
            save_image(self.journal.folder / output, drawn)
        height, width = result.size
        found = {"width": width, "height": height, "detections": result.to_list()}
        if self.options.as_json:
            json_file = f"{item.output}.json"
            text = json.dumps({"source": item.source, **found}, indent=1)
            write_atomic(self.journal.folder / json_file, text + "\n")
        if result.features is not None:
            result.save(self.journal.folder / f"{item.output}.npz")
        self.journal.add(item, found, output=output, json_file=json_file)
        self.found.update(result.names)
        self.finished += 1
        self.show(drawn, wait=True)

    def detect(
        self,
        images: Sequence[Pixels | Decoded],
        threshold: float | Mapping[str, float] | None = None,
    ) -> list[Result]:
        """Detect objects in images in one pass.

        Args:
            images: ``(H, W, 3)`` RGB, or as the detector reads files.
            threshold: score above which to return them; if None, as the options say.
        """
        adapt_threads()
        results = self.detector(
            images,
            score_threshold=self.options.threshold if threshold is None else threshold,
            classes=self.options.classes,
            batch_size=self.batch,  # of tiles too
        )
        return results if isinstance(results, list) else [results]

    def show(self, drawn: Picture | None, *, wait: bool) -> None:
        """Show a picture until a key is pressed, or until the next one."""
        if self.window is not None and drawn is not None and not self._closed:
            self._closed = not self.window.show(drawn, wait=wait)
