"""Subscriptions in definition files: several secrets for a rotation, and asking the receiver first."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.project.model import Secret, WebhookSink

ENTRY = """
subscriptions:
  - name: watchers
    filters: []
    webhook:
      url: https://receiver.example/
"""


def test_secrets_of_a_rotation_are_kept_in_their_order(folder: Any) -> None:
    folder.write(
        "triggers/a.yaml", ENTRY + "      secrets: [{env: NEW}, {file: secrets/old}]\n      handshake: true\n"
    )

    (subscription,) = folder.load().subscriptions

    sink = subscription.sink
    assert isinstance(sink, WebhookSink)
    assert sink.secrets == (Secret(kind="env", place="NEW"), Secret(kind="file", place="secrets/old"))
    assert (sink.secret, sink.handshake, sink.guarded) == (None, True, False)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (
            "secret: {env: A}\n      secrets: [{env: B}]",
            "secret and secrets exclude each other; write one of them",
        ),
        ("secrets: []", "'secrets' must not be empty"),
        ("secrets: [{env: A, file: b}]", "a secret has exactly one of env and file"),
        ("secrets: [whsec_canary]", "a secret is never written here; write {env: NAME} or {file: PATH}"),
        (
            "secrets: [{file: ../outside}]",
            "the file leads out of the project; write it absolute if that is meant",
        ),
    ],
)
def test_secrets_that_cannot_be_used_are_refused(folder: Any, more: str, problem: str) -> None:
    folder.write("triggers/a.yaml", ENTRY + f"      {more}\n")

    problems = folder.problems()

    assert [one.split(": ", 1)[1] for one in problems] == [problem]
    assert "canary" not in str(problems)
