"""A verdict as SARIF 2.1.0, which code hosts and editors read."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tidemill.project.remarks import RULES, Remark

__all__ = ["sarif"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_ROOT = "PROJECT"


def sarif(remarks: list[Remark], root: Path) -> dict[str, Any]:
    """The log of one run of `tidemill validate`; paths are relative to the project folder."""
    index = {rule: place for place, rule in enumerate(RULES)}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "tidemill",
                        "semanticVersion": metadata.version("tidemill"),
                        "rules": [_rule(rule) for rule in RULES],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "originalUriBaseIds": {_ROOT: {"uri": root.resolve().as_uri().rstrip("/") + "/"}},
                "results": [_result(remark, index) for remark in remarks],
            }
        ],
    }


def _rule(rule: str) -> dict[str, Any]:
    text = RULES[rule]
    return {
        "id": rule,
        "shortDescription": {"text": text.summary},
        "defaultConfiguration": {"level": text.severity.value},
    }


def _result(remark: Remark, index: dict[str, int]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": remark.rule,
        "ruleIndex": index[remark.rule],
        "level": remark.severity.value,
        "message": {"text": remark.message},
    }
    if remark.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": quote(remark.file), "uriBaseId": _ROOT}}
        if remark.line:
            region = {"startLine": remark.line}
            if remark.column:
                region["startColumn"] = remark.column
            place["region"] = region
        result["locations"] = [{"physicalLocation": place}]
    return result
