"""References to secrets in definitions; values never pass through here: whoever uses them reads them."""

from __future__ import annotations

from typing import Any

from tidemill.project.entry import Entry
from tidemill.project.model import Secret
from tidemill.project.trigger_file import SecretForm

__all__ = ["build_secret", "check_secret"]


def check_secret(entry: Entry, at: str, written: Any) -> None:
    """Note a problem unless the secret at `at` names exactly one place."""
    if isinstance(written, dict) and set(written) <= {"env", "file"}:
        places = [name for name, value in written.items() if value is not None]
        if len(places) != 1:
            entry.problem(at, "a secret has exactly one of env and file")


def build_secret(form: SecretForm) -> Secret:
    """A checked secret as the project keeps it."""
    if form.env is not None:
        return Secret(kind="env", place=form.env)
    return Secret(kind="file", place=form.file or "")
