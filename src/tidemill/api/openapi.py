"""The OpenAPI description completed by hand: intake (which has no FastAPI routes), errors, authentication."""

from __future__ import annotations

from typing import Any

from tidemill.api.auth import Surface, surface
from tidemill.api.problems import MEDIA_TYPE, ProblemBody

__all__ = ["complete"]

_PROBLEM = {
    "description": "A problem (RFC 9457).",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
}
_EVENT = {
    "type": "object",
    "description": "A CloudEvent in JSON format (CloudEvents 1.0.2).",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "format": "uri-reference", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "subject": {"type": "string"},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"type": "string"},
        "dataschema": {"type": "string", "format": "uri"},
        "data": {},
        "data_base64": {"type": "string", "contentEncoding": "base64"},
    },
}
_APPENDED = {
    "type": "object",
    "required": ["position", "duplicate"],
    "properties": {
        "position": {"type": "integer", "description": "Place in the log, from 1."},
        "duplicate": {
            "type": "boolean",
            "description": "The event was in the log already, at this position.",
        },
    },
}
_APPENDED_BATCH = {
    "type": "object",
    "required": ["events"],
    "properties": {"events": {"type": "array", "items": {"$ref": "#/components/schemas/Appended"}}},
}
_RUN = {
    "type": "object",
    "description": "A run that the event started.",
    "required": ["run", "trigger", "state"],
    "properties": {
        "run": {"type": "string"},
        "trigger": {"type": "string"},
        "dag": {"type": ["string", "null"]},
        "state": {"type": ["string", "null"], "description": "Null while it goes on."},
        "result": {},
        "error": {},
    },
}
_OUTCOME = {
    "allOf": [
        {"$ref": "#/components/schemas/Appended"},
        {"type": "object", "properties": {"runs": {"type": "array", "items": _RUN}}},
    ]
}
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`wait=N` (RFC 7240): answer with the runs once they have ended, within N seconds.",
}
_WAITED = {
    "description": "On disk, and every run that it started has ended (only with `Prefer: wait=N`).",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Outcome"}}},
}
_POST_EVENTS: dict[str, Any] = {
    "tags": ["intake"],
    "summary": "Post events",
    "operationId": "post_events",
    "description": (
        "Takes one CloudEvent in structured or binary mode, or a batch. 202 means that all is on disk. "
        "An event that was posted before is answered with its first position. A batch is taken whole or not "
        "at all."
    ),
    "parameters": [_PREFER],
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": {"$ref": "#/components/schemas/CloudEvent"}},
            "application/cloudevents-batch+json": {
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/CloudEvent"}}
            },
            "*/*": {
                "schema": {
                    "description": "Binary mode: attributes in `ce-` header fields, the body is the data."
                }
            },
        },
    },
    "responses": {
        "200": _WAITED,
        "202": {
            "description": "On disk.",
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [
                            {"$ref": "#/components/schemas/Appended"},
                            {"$ref": "#/components/schemas/AppendedBatch"},
                        ]
                    }
                }
            },
        },
    },
}
_POST_WEBHOOK: dict[str, Any] = {
    "tags": ["intake"],
    "summary": "Post to a webhook",
    "operationId": "post_webhook",
    "description": (
        "Takes JSON or a form and turns it into the CloudEvent that the webhook's source declares. The same "
        "body (or the same id of the sender's delivery, or the id that the source maps) is the same event. A source "
        "may ask for a signature in place of the token, and may answer in its own way with any 2xx."
    ),
    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}, _PREFER],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {}},
            "application/x-www-form-urlencoded": {"schema": {"type": "object"}},
        },
    },
    "responses": {
        "200": _WAITED,
        "202": {
            "description": "On disk.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Appended"}}},
        },
    },
}


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with intake, one answer for every error, and bearer authentication."""
    paths = document.setdefault("paths", {})
    paths["/events"] = {"post": _POST_EVENTS}
    paths["/webhooks/{name}"] = {"post": _POST_WEBHOOK}
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(
        {
            "CloudEvent": _EVENT,
            "Appended": _APPENDED,
            "AppendedBatch": _APPENDED_BATCH,
            "Outcome": _OUTCOME,
            "ProblemBody": ProblemBody.model_json_schema(),
        }
    )
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for path, operations in paths.items():
        for operation in operations.values():
            operation["responses"] = {**_expected(operation["responses"]), "default": _PROBLEM}
            operation["security"] = [] if surface(path) is Surface.PUBLIC else [{"bearer": []}]
    return document


def _expected(responses: dict[str, Any]) -> dict[str, Any]:
    return {status: response for status, response in responses.items() if status.startswith("2")}
