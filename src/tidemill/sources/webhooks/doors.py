"""The webhook sources of the project, opened: secrets read, schemes built, limits counted.

They are opened again when the project is replaced; what was counted goes on for a source that is still there.
Secrets are read here and nowhere else, and no message shows a byte of one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tidemill.clock import Clock
from tidemill.project.model import Project, Secret, WebhookSource
from tidemill.sources.tally import Tally
from tidemill.sources.webhooks.bucket import Bucket
from tidemill.sources.webhooks.schemes import Verifier, build_verifier

__all__ = ["Doors", "WebhookDoor"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WebhookDoor:
    """One webhook source, ready to take requests."""

    source: WebhookSource
    #: None where nothing is signed.
    verifier: Verifier | None
    bucket: Bucket | None
    tally: Tally
    #: Why it takes nothing; empty when it does.
    error: str


class Doors:
    """Every door by the source's name, as the project is now."""

    def __init__(self, project: Callable[[], Project], *, clock: Clock) -> None:
        self._project = project
        self._clock = clock
        self._seen: Project | None = None
        self._doors: Mapping[str, WebhookDoor] = {}
        self.all()

    def all(self) -> Mapping[str, WebhookDoor]:
        """The doors; they are opened again when the project was replaced."""
        project = self._project()
        if project is not self._seen:
            found = (spec for spec in project.sources if isinstance(spec, WebhookSource))
            self._doors = {source.name: self._open(source, project.root) for source in found}
            self._seen = project
        return self._doors

    def _open(self, source: WebhookSource, root: Path) -> WebhookDoor:
        known = self._doors.get(source.name)
        verifier, error = _verifier(source, root)
        return WebhookDoor(
            source,
            verifier,
            self._bucket(source, None if known is None else known.bucket),
            known.tally if known else Tally(source.name, "webhook", clock=self._clock),
            error,
        )

    def _bucket(self, source: WebhookSource, known: Bucket | None) -> Bucket | None:
        if source.rate is None:
            return None
        if known is not None and known.rate == source.rate:
            return known
        return Bucket(source.rate, clock=self._clock)


def _verifier(source: WebhookSource, root: Path) -> tuple[Verifier | None, str]:
    """What verifies the source's requests, and why it cannot."""
    texts: list[str] = []
    error = ""
    for secret in source.secrets:
        try:
            text = _read_secret(secret, root)
            build_verifier(source.signature, [text])
        except (OSError, ValueError) as problem:
            error = f"the secret in {secret.kind} {secret.place} cannot be used: {_reason(problem)}"
            logger.warning("source.stalled", extra={"source": source.name, "error": error})
        else:
            texts.append(text)
    return (build_verifier(source.signature, texts) if texts else None), error


def _read_secret(secret: Secret, root: Path) -> str:
    if secret.kind == "file":
        return (root / secret.place).read_text("utf-8")
    try:
        return os.environ[secret.place]
    except KeyError:
        raise ValueError("the variable is not set") from None


def _reason(problem: OSError | ValueError) -> str:
    """What went wrong, never with a byte of the secret."""
    if isinstance(problem, OSError):
        return problem.strerror or "it cannot be read"
    return "it is not UTF-8" if isinstance(problem, UnicodeError) else str(problem)
