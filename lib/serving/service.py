"""Read the pictures of a request within limits, and detect objects in them.

Requests are read on one event loop, pictures are decoded in a few threads and detected
in one (`RequestBatches`).
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from ..datasets.loading.images import ImageError
from ..demo.picture_input import UPLOAD_FORMATS, decode_upload
from ..detector import Detector, Result
from ..detector.batching import Prepared
from .answers import Facts, Health
from .figures import Figures
from .request_batches import QueueFullError, RequestBatches

_T = TypeVar("_T")
_DECODERS = 2


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Attributes:
        bytes: of a request's body.
        pixels: of a picture.
        pictures: of a request.
        queue: pictures that may wait, and requests in work at a time.
        batch: pictures in one pass of the network.
        wait_seconds: for which a batch waits for more pictures.
        body_seconds: in which a request has to arrive.
        answer_seconds: for which its pictures may wait for their detections.
    """

    bytes: int = 16 << 20
    pixels: int = 50_000_000
    pictures: int = 16
    queue: int = 32
    batch: int = 8
    wait_seconds: float = 0.005
    body_seconds: float = 30
    answer_seconds: float = 30


class Refusal(Exception):
    """A request that is not answered by detections."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Service:
    """A detector with its queue, figures and decoding threads.

    Args:
        score_threshold: least score of what is answered.
    """

    def __init__(
        self,
        detector: Detector,
        *,
        name: str,
        score_threshold: float = 0.05,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits = limits or Limits()
        self._detector = detector
        self._working = 0
        self._decoders = ThreadPoolExecutor(_DECODERS, thread_name_prefix="decoder")
        self.figures = Figures(lambda: len(self._batches))
        self._batches = RequestBatches(
            detector,
            score_threshold=score_threshold,
            max_batch=limits.batch,
            wait_seconds=limits.wait_seconds,
            limit=limits.queue,
            on_batch=self.figures.count_batch,
        )
        points = detector.keypoints
        self.facts = Facts(
            checkpoint=name,
            classes=list(detector.classes),
            keypoints=None if points is None else list(points.names),
            score_threshold=score_threshold,
            max_bytes=limits.bytes,
            max_pixels=limits.pixels,
            max_pictures=limits.pictures,
            formats=list(UPLOAD_FORMATS),
        )

    def warm_up(self) -> None:
        """Detect in one grey picture, so that no request pays for a first pass."""
        grey = self._detector.prepare(np.full((480, 640, 3), 128, np.uint8))
        self._batches.submit([grey])[0].result()

    def close(self) -> None:
        """Answer what is queued, then end all threads."""
        self._batches.close()
        self._decoders.shutdown()

    def health(self) -> Health:
        """Return the state of the server."""
        batches = self._batches
        return Health(live=batches.lives, ready=batches.accepts, queued=len(batches))

    async def detect(self, request: Any, score_threshold: float | None) -> list[Result]:
        """Detect objects in the pictures of a request, one or more.

        Args:
            request: Starlette's.
            score_threshold: of this request; None for the server's.

        Raises:
            Refusal: the request is not as it has to be, or the server is busy.
        """
        if self._working >= self.limits.queue or not self._batches.accepts:
            raise Refusal(503, "busy with other requests; try again in a moment")
        self._working += 1
        try:
            files = await _in_time(
                self._read(request),
                self.limits.body_seconds,
                Refusal(408, "the request did not arrive in time; send it faster"),
            )
            prepared = [
                await self._prepare(data, i, len(files)) for i, data in enumerate(files)
            ]
            results = await self._queued(prepared)
        finally:
            self._working -= 1
        return [result.filter(score_threshold) for result in results]

    async def _read(self, request: Any) -> list[bytes]:
        """Read the bytes of each picture, raw or of a form."""
        from starlette.requests import ClientDisconnect, Request

        read, most = 0, self.limits.bytes

        async def limited() -> Any:
            nonlocal read
            message = await request.receive()
            read += len(message.get("body", b""))
            if read > most:
                raise too_many
            return message

        too_many = Refusal(
            413, f"expected at most {most} bytes; make the pictures smaller or fewer"
        )
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > most:
            raise too_many
        bounded = Request(request.scope, limited)
        try:
            body: bytes = await bounded.body()
        except ClientDisconnect:
            raise Refusal(400, "the connection ended before the request") from None
        if not request.headers.get("content-type", "").startswith("multipart/"):
            if not body:
                raise Refusal(400, "expected a picture as body, found no bytes")
            return [body]
        async with bounded.form(max_part_size=most) as form:
            values: list[Any] = [value for _, value in form.multi_items()]
            if not values or any(isinstance(value, str) for value in values):
                raise Refusal(
                    400,
                    f"expected a form of files alone, found {len(values)} fields; send "
                    "each picture as a file",
                )
            if len(values) > self.limits.pictures:
                raise Refusal(
                    413,
                    f"expected at most {self.limits.pictures} pictures, found "
                    f"{len(values)}; send them in several requests",
                )
            return [await value.read() for value in values]

    async def _prepare(self, data: bytes, i: int, count: int) -> Prepared:
        """Decode a picture and resize it in a thread."""

        def decode() -> Prepared:
            pixels = decode_upload(data, max_pixels=self.limits.pixels)
            return self._detector.prepare(pixels)

        place = f"picture {i + 1} of {count}: " if count > 1 else ""
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._decoders, decode)
        except ImageError as error:
            raise Refusal(415, f"{place}{error}") from error
        except ValueError as error:
            raise Refusal(422, f"{place}{error}") from error

    async def _queued(self, pictures: Sequence[Prepared]) -> list[Result]:
        try:
            futures = self._batches.submit(pictures)
        except QueueFullError as error:
            raise Refusal(503, f"busy: {error}; try again in a moment") from error
        late = Refusal(503, "busy: the pictures waited too long; try again later")
        answers = asyncio.gather(*map(asyncio.wrap_future, futures))
        try:
            return await _in_time(answers, self.limits.answer_seconds, late)
        except ValueError as error:
            raise Refusal(422, str(error)) from error


async def _in_time(work: Awaitable[_T], seconds: float, late: Refusal) -> _T:
    try:
        return await asyncio.wait_for(work, seconds)
    except asyncio.TimeoutError:  # the built-in one from Python 3.11 on
        raise late from None
