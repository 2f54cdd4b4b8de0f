"""The values behind `Secret`s, read once at start. Nothing here shows a value: errors name the place only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import assert_never

from tidemill.errors import SettingsError
from tidemill.project.model import Secret

__all__ = ["MAX_SECRET_BYTES", "read_secret"]

#: Longest secret file, in bytes.
MAX_SECRET_BYTES = 65_536


def read_secret(secret: Secret, root: Path, *, environ: Mapping[str, str] | None = None) -> str:
    """The value of `secret`; `root` is the project folder, `environ` the process's environment unless given.

    White space around the value (the newline at the end of a file) is not part of it. Raises `SettingsError`
    that names the variable or file which is missing, empty or unreadable.
    """
    match secret.kind:
        case "env":
            place = f"variable {secret.place}"
            value = (os.environ if environ is None else environ).get(secret.place)
        case "file":
            place = f"file {secret.place}"
            value = _read_file(root / secret.place, place)
        case _:
            assert_never(secret.kind)
    if value is None:
        raise SettingsError(f"{place} is not set, and a secret is read from it")
    if not value.strip():
        raise SettingsError(f"{place} is empty, and a secret is read from it")
    return value.strip()


def _read_file(path: Path, place: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SettingsError(
            f"{place} cannot be read, and a secret is read from it: {error.strerror}"
        ) from None
    if len(content) > MAX_SECRET_BYTES:
        raise SettingsError(f"{place} holds more than {MAX_SECRET_BYTES} bytes, which is no secret")
    try:
        return content.decode()
    except UnicodeDecodeError:
        # The cause is cut off: it carries the bytes.
        raise SettingsError(f"{place} is not UTF-8 text, and a secret is read from it") from None
