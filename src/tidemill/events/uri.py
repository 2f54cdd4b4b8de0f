"""URIs by the grammar of RFC 3986 (appendix A), as far as `source` and `dataschema` need it. No resolving."""

from __future__ import annotations

import re

__all__ = ["is_absolute", "is_reference"]

_ESCAPE = "%[0-9A-Fa-f]{2}"


def _run(characters: str) -> str:
    """Any number of `characters` and percent escapes, without backtracking between the two."""
    return f"[{characters}]*(?:{_ESCAPE}[{characters}]*)*"


_UNRESERVED = r"A-Za-z0-9\-._~!$&'()*+,;="
_USERINFO = _run(_UNRESERVED + ":")
_HOST = _run(_UNRESERVED)
_PATH = _run(_UNRESERVED + ":@/")
_FIRST_SEGMENT = _run(_UNRESERVED + "@")  # of a relative path: a colon there would make it a scheme
_TAIL = _run(_UNRESERVED + ":@/?")
_IP_LITERAL = rf"\[(?:[0-9A-Fa-f:.]+|v[0-9A-Fa-f]+\.[{_UNRESERVED}:]+)\]"
_AUTHORITY = rf"//(?:{_USERINFO}@)?(?:{_IP_LITERAL}|{_HOST})(?::[0-9]*)?"
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*:"
_SUFFIX = rf"(?:\?{_TAIL})?(?:#{_TAIL})?"
_HIERARCHY = rf"(?:{_AUTHORITY}(?:/{_PATH})?|(?!//){_PATH})"
_RELATIVE = rf"(?:{_AUTHORITY}(?:/{_PATH})?|/(?!/){_PATH}|{_FIRST_SEGMENT}(?:/{_PATH})?)"

_URI = re.compile(f"{_SCHEME}{_HIERARCHY}{_SUFFIX}")
_REFERENCE = re.compile(f"(?:{_SCHEME}{_HIERARCHY}|{_RELATIVE}){_SUFFIX}")


def is_reference(text: str) -> bool:
    """Whether `text` is a URI reference: a URI or a relative reference."""
    return _REFERENCE.fullmatch(text) is not None


def is_absolute(text: str) -> bool:
    """Whether `text` is a URI with a scheme; a fragment is allowed, as in the specification's JSON Schema."""
    return _URI.fullmatch(text) is not None
