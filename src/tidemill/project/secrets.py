"""References to secrets in definitions; values never pass through here: whoever uses them reads them."""

from __future__ import annotations

from typing import Any

from tidemill.project.entry import Entry
from tidemill.project.locations import leads_out
from tidemill.project.model import Secret
from tidemill.project.trigger_file import SecretForm

__all__ = ["build_secret", "check_secret"]


def check_secret(entry: Entry, at: str, written: Any) -> None:
    """Note a problem unless the secret at `at` names exactly one place, in the project or absolute."""
    if isinstance(written, dict) and set(written) <= {"env", "file"}:
        places = [name for name, value in written.items() if value is not None]
        if len(places) != 1:
            entry.problem(at, "a secret has exactly one of env and file")
        file = written.get("file")
        if isinstance(file, str) and leads_out(file):
            entry.problem(
                f"{at}/file", "the file leads out of the project; write it absolute if that is meant"
            )


def build_secret(form: SecretForm) -> Secret:
    """A checked secret as the project keeps it."""
    if form.env is not None:
        return Secret(kind="env", place=form.env)
    return Secret(kind="file", place=form.file or "")
