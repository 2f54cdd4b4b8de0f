"""Request bodies of the API: parsed as strictly as events are, then checked against their model."""

from __future__ import annotations

from typing import Any, TypeVar

import pydantic
from fastapi import Request
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from tidemill.api.problems import Invalid, validation_problems
from tidemill.events import json_text

__all__ = ["read_body", "schema_of"]

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, model: type[Model]) -> Model:
    """The request's JSON body as `model`; an empty body is an empty object.

    Raises `EventRejected` for what is not JSON, `Invalid` with every problem for what is not the model.
    """
    raw = await request.body()
    if raw and not _is_json(request.headers.get("content-type", "")):
        raise HTTPException(415, "content-type must be application/json")
    value = json_text.parse(raw) if raw else {}
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        problems = validation_problems(error.errors(include_url=False, include_input=False))
        raise Invalid("invalid_request", "the body is not what this route takes", problems) from error


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """`model` as an OpenAPI request body."""
    return {"content": {"application/json": {"schema": model.model_json_schema()}}}


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json"
