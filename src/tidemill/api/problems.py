"""The one place where an error becomes an answer: RFC 9457 documents for every route of the API.

What the caller must mend is told with its place; what is our mistake is logged and told without any detail.
Values that the caller sent are never repeated.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from tidemill.api.auth import Refusal
from tidemill.api.parts import Send
from tidemill.errors import (
    REJECTION_STATUS,
    DiskFull,
    EventRejected,
    NotFound,
    Overloaded,
    StateConflict,
    StorageError,
    problem_document,
)

__all__ = [
    "MEDIA_TYPE",
    "Invalid",
    "ProblemBody",
    "install",
    "problem",
    "send_refusal",
    "validation_problems",
]

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    415: "unsupported_media_type",
}


class ProblemBody(BaseModel):
    """What every error is answered with (RFC 9457); decide on `code`."""

    type: str = Field(description="Always `about:blank`.")
    title: str = Field(description="The phrase of the status.")
    status: int
    code: str = Field(description="What went wrong, for programs; stable.")
    detail: str = Field(description="What went wrong and what to do, for people.")
    attribute: str | None = Field(None, description="The attribute or JSON pointer at fault.")
    index: int | None = Field(None, description="Place of the event in its batch.")
    problems: list[dict[str, object]] | None = Field(None, description="Every single thing that is wrong.")


class Invalid(Exception):  # noqa: N818 - an answer, not an error of ours
    """The request is understood and wrong: answered with 422 and every problem."""

    def __init__(self, code: str, detail: str, problems: Sequence[Mapping[str, object]]) -> None:
        self.code = code
        self.detail = detail
        self.problems = list(problems)
        super().__init__(detail)


def problem(
    status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """An error answer."""
    document = problem_document(status, code, detail, **members)
    return Response(
        orjson.dumps(document, default=str), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


async def send_refusal(send: Send, refusal: Refusal) -> None:
    """Answer before any route was looked for."""
    body = orjson.dumps(problem_document(refusal.status, refusal.code, refusal.detail))
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def validation_problems(errors: Iterable[Mapping[str, object]]) -> list[dict[str, object]]:
    """pydantic's errors as (where, what), without the values."""
    return [
        {
            "location": "/".join(str(part) for part in cast("Sequence[object]", error["loc"])),
            "detail": str(error["msg"]),
        }
        for error in errors
    ]


def install(app: FastAPI) -> None:
    """Let `app` answer every exception with a problem document."""
    app.add_exception_handler(HTTPException, _on_http)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _on_validation)  # type: ignore[arg-type]
    app.add_exception_handler(Invalid, _on_invalid)  # type: ignore[arg-type]
    app.add_exception_handler(EventRejected, _on_rejected)  # type: ignore[arg-type]
    app.add_exception_handler(NotFound, _on_not_found)  # type: ignore[arg-type]
    app.add_exception_handler(StateConflict, _on_conflict)  # type: ignore[arg-type]
    app.add_exception_handler(Overloaded, _on_overload)  # type: ignore[arg-type]
    app.add_exception_handler(StorageError, _on_storage)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _on_bug)


def _methods(request: Request) -> set[str]:
    """Every method that some route takes at this path; the framework knows those of the first route only."""
    found: set[str] = set()
    for route in request.app.every_route:
        if route.matches(request.scope)[0] is not Match.NONE:
            found.update(route.methods or ())
    return found


async def _on_http(request: Request, error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "request_failed")
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            return problem(404, code, "there is nothing at this path")
        case 405:
            headers["Allow"] = ", ".join(sorted(_methods(request))) or headers.get("Allow", "")
            return problem(405, code, "this path does not take the method", headers=headers)
    return problem(error.status_code, code, str(error.detail), headers=headers)


async def _on_validation(_request: Request, error: RequestValidationError) -> Response:
    problems = validation_problems(error.errors())
    return problem(422, "invalid_request", "the request is not what this route takes", problems=problems)


async def _on_invalid(_request: Request, error: Invalid) -> Response:
    return problem(422, error.code, error.detail, problems=error.problems)


async def _on_rejected(_request: Request, error: EventRejected) -> Response:
    return problem(error.status, error.code, error.detail, attribute=error.attribute, index=error.index)


async def _on_not_found(_request: Request, error: NotFound) -> Response:
    return problem(404, "not_found", f"there is no such {error.kind}")


async def _on_conflict(_request: Request, error: StateConflict) -> Response:
    return problem(409, "state_conflict", str(error))


async def _on_overload(_request: Request, error: Overloaded) -> Response:
    headers = {"Retry-After": str(error.retry_after)}
    return problem(REJECTION_STATUS[error.code], error.code, error.detail, headers=headers)


async def _on_storage(_request: Request, error: StorageError) -> Response:
    if isinstance(error, DiskFull):
        detail = "the disk has no room; nothing was stored"
        return problem(507, "disk_full", detail, headers={"Retry-After": "30"})
    return problem(
        503, "store_unavailable", "the store did not answer; ask again", headers={"Retry-After": "1"}
    )


async def _on_bug(request: Request, error: Exception) -> Response:
    logger.error(
        "request.failed",
        exc_info=error,
        extra={"path": request.scope["path"], "error": repr(error)},
    )
    return problem(500, "internal_error", "the request failed; see the log")
