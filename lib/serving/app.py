"""The server's routes, described by OpenAPI.

Every refusal has a status of its own and the body ``{"error": ...}``; stack traces go
to the log alone.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ..demo.picture_input import UPLOAD_FORMATS
from .answers import Answer, Facts, Health, MaskForm, Problem
from .service import Refusal, Service

_RETRY_SECONDS = 1
_REFUSALS = {
    400: "malformed request",
    408: "the request did not arrive in time",
    413: "too many bytes or pictures",
    415: "no picture, or a damaged or too large one",
    422: "unsuitable picture or parameter",
    503: "busy or stopping; see Retry-After",
}
_BODY = {
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "pictures": {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                    }
                },
            }
        },
        **{
            f"image/{name.lower()}": {"schema": {"type": "string", "format": "binary"}}
            for name in UPLOAD_FORMATS
        },
    },
    "required": True,
}


def create_app(service: Service) -> Any:
    """Create the FastAPI application of a service; its end closes the service."""
    from fastapi import FastAPI, Query, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close)

    def refuse(status: int, text: str) -> Any:
        retry = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else None
        return JSONResponse({"error": text}, status, retry)

    async def refused(request: Request, error: Exception) -> Any:
        if isinstance(error, Refusal):
            return refuse(error.status, str(error))
        if isinstance(error, RequestValidationError):
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            return refuse(422, f"{place}: {first['msg']}, found {first['input']!r}")
        if isinstance(error, HTTPException):
            return refuse(error.status_code, f"{error.detail}; see /openapi.json")
        return refuse(500, f"the detector failed ({type(error).__name__})")

    async def detect(
        request: Request,
        score_threshold: float | None = Query(
            None, ge=0, le=1, description="of this request; not below the server's"
        ),
        masks: MaskForm = "run_lengths",
        vertices: int = Query(
            200, ge=8, le=10_000, description="of the polygons of a mask, at most"
        ),
    ) -> Answer:
        """Detect objects in one picture, or in each of a form's files."""
        results = await service.detect(request, score_threshold)
        return await run_in_threadpool(Answer.of, results, masks, vertices)

    async def info() -> Facts:
        """Return the classes of the detector, and the limits."""
        return service.facts

    async def health(response: Response) -> Health:
        """Return 200 if the server takes requests, else 503."""
        state = service.health()
        response.status_code = 200 if state.ready else 503
        return state

    async def live(response: Response) -> Health:
        """Return 200 as long as the detector's thread lives, else 503."""
        state = service.health()
        response.status_code = 200 if state.live else 503
        return state

    async def metrics() -> Any:
        """Return figures in the text format of Prometheus."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(service.figures.text(), media_type=kind)

    async def timed(request: Request, call_next: Any) -> Any:
        begun, status = time.perf_counter(), 500
        try:
            response = await call_next(request)
            status = response.status_code
            return response
        finally:
            if request.url.path == "/detect":
                service.figures.count_request(status, time.perf_counter() - begun)

    app = FastAPI(
        title="Faster R-CNN", lifespan=lifespan, docs_url=None, redoc_url=None
    )
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": text}
        for status, text in _REFUSALS.items()
    }
    app.add_api_route(
        *("/detect", detect),
        methods=["POST"],
        response_model_exclude_none=True,
        responses=problems,
        openapi_extra={"requestBody": _BODY},
    )
    app.add_api_route("/info", info)
    app.add_api_route("/health", health)
    app.add_api_route("/health/ready", health)
    app.add_api_route("/health/live", live)
    app.add_api_route("/metrics", metrics)
    for kind in (Refusal, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, refused)
    app.middleware("http")(timed)
    return app
