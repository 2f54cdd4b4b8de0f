"""The limits every event is held to, wherever it comes from; each is inclusive.

Sizes of bodies and batches are settings (`tidemill.settings`) and reach the codecs as arguments; what stands
here never changes, so that the same bytes get the same verdict on every source.
"""

from __future__ import annotations

__all__ = [
    "MAX_ATTRIBUTE_BYTES",
    "MAX_DEPTH",
    "MAX_EXTENSIONS",
    "MAX_EXTENSION_INTEGER",
    "MAX_EXTENSION_NAME",
    "MAX_HEADER_BYTES",
    "MAX_INTEGER",
    "MIN_EXTENSION_INTEGER",
    "MIN_INTEGER",
]

#: Deepest nesting of arrays and objects in `data`; a scalar has depth 0, `[]` has depth 1.
MAX_DEPTH = 64
#: Longest value of one attribute, in bytes of UTF-8.
MAX_ATTRIBUTE_BYTES = 8 * 1024
#: Most extension attributes of one event.
MAX_EXTENSIONS = 64
#: Longest name of an extension attribute, in characters.
MAX_EXTENSION_NAME = 64
#: Largest block of attribute headers (names and values together), in bytes.
MAX_HEADER_BYTES = 64 * 1024
#: Integers in `data` are exact within 64 bits, signed or unsigned; beyond they are refused, never rounded.
MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1
#: Integers in extension attributes are 32 bit, signed (CloudEvents 1.0.2, type system).
MIN_EXTENSION_INTEGER = -(2**31)
MAX_EXTENSION_INTEGER = 2**31 - 1
