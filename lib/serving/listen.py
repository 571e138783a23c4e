"""Listen for requests until a signal, and then finish those that have begun."""

import asyncio
import logging
import signal
import socket
from typing import Any

from .app import create_app
from .service import Service

logger = logging.getLogger(__name__)

INSTALL = "pip install faster-rcnn[serve]"
"""The packages that only the server needs."""
_CONNECTIONS = 256  # at a time; further ones are answered by 503
_SILENT_SECONDS = 20  # that a connection may take for the headers of a request


def require_packages() -> None:
    """Check that the packages of the extra are installed.

    Raises:
        ValueError: one is missing.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError(f"frcnn serve needs {error.name}; {INSTALL}") from error


def listen(service: Service, *, host: str, port: int) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then finish what is in work.

    Raises:
        ValueError: the address is not available.
    """
    server = _server(service)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # clients' faults
    listening = _bind(host, port)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        place = f"http://{host}:{listening.getsockname()[1]}"
        logger.info("answering at %s/detect (Ctrl-C or SIGTERM ends)", place)
        asyncio.run(_serve(server, listening))
    except KeyboardInterrupt:
        pass  # uvicorn repeats the signal after it has finished
    finally:
        signal.signal(signal.SIGTERM, before)
    logger.info("ended")


def _server(service: Service) -> Any:
    import uvicorn

    limits = service.limits
    config = uvicorn.Config(
        create_app(service),
        http="h11",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=int(limits.body_seconds + limits.answer_seconds) + 1,
    )
    return uvicorn.Server(config)


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=_CONNECTIONS)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"port {port} of {host} is not available ({error}); give another by "
            "--host and --port, or port 0 for any"
        ) from error


async def _serve(server: Any, listening: socket.socket) -> None:
    watching = asyncio.create_task(_close_silent(server.server_state.connections))
    await server.serve([listening])
    watching.cancel()


async def _close_silent(connections: set[Any]) -> None:
    """Close connections whose next request does not begin in time.

    uvicorn closes idle ones only until the first byte of a request.
    """
    silent: set[tuple[Any, Any]] = set()
    while True:
        await asyncio.sleep(_SILENT_SECONDS)
        now = {(each, each.cycle) for each in connections}
        now = {(c, cycle) for c, cycle in now if not cycle or cycle.response_complete}
        for connection, _ in silent & now:
            connection.transport.close()
        silent = now
