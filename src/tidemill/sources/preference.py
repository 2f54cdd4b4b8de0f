"""`Prefer: wait=N` (RFC 7240, section 4.3): how long a sender would wait for what comes of its events. Pure.

A preference that cannot be read is no error (section 2): it is passed over.
"""

from __future__ import annotations

import re

from tidemill.sources.answers import Headers

__all__ = ["wanted_seconds"]

#: Preferences are separated by commas, their parameters by semicolons; values may be quoted.
_WAIT = re.compile(rb'\s*wait\s*=\s*(?:"([0-9]{1,9})"|([0-9]{1,9}))\s*(?:;.*)?\Z', re.IGNORECASE)


def wanted_seconds(headers: Headers) -> int:
    """Seconds that the sender would wait; 0 when it does not say so. The first mention counts (section 2)."""
    for name, value in headers:
        if name == b"prefer":
            for part in value.split(b","):
                if found := _WAIT.match(part):
                    return int(found[1] or found[2])
    return 0
