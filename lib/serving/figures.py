"""The server's figures, in the text format of Prometheus."""

from collections.abc import Callable

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Figures:
    """Counters of one server.

    Args:
        waiting: returns the number of pictures in the queue.
    """

    def __init__(self, waiting: Callable[[], int]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        own = CollectorRegistry()  # a second server in the process has its own
        self._registry = own
        self._requests = Counter(
            "frcnn_requests", "Requests to /detect.", ["status"], registry=own
        )
        self._refusals = Counter(
            "frcnn_refusals", "Requests to /detect at fault: 4xx.", registry=own
        )
        self._failures = Counter(
            "frcnn_failures", "Sound requests without detections: 5xx.", registry=own
        )
        self._seconds = Histogram(
            "frcnn_request_seconds",
            "From a request's headers to its answer.",
            buckets=_SECONDS,
            registry=own,
        )
        self._batches = Histogram(
            "frcnn_batch_pictures",
            "Pictures in one pass of the network.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=own,
        )
        queue = Gauge("frcnn_queue_pictures", "Pictures that wait.", registry=own)
        queue.set_function(waiting)

    def count_request(self, status: int, seconds: float) -> None:
        """Count a request to ``/detect`` that has been answered."""
        self._requests.labels(status).inc()
        self._seconds.observe(seconds)
        if status >= 500:
            self._failures.inc()
        elif status >= 400:
            self._refusals.inc()

    def count_batch(self, pictures: int) -> None:
        """Count a pass of the network."""
        self._batches.observe(pictures)

    def text(self) -> bytes:
        """Return all figures."""
        from prometheus_client import generate_latest

        text: bytes = generate_latest(self._registry)
        return text
