"""Results that are kept elsewhere: what is stored comes back, and nothing else is ever read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from tidemill.errors import SettingsError
from tidemill.executors.remote.claims import ClaimFailure, Claims

CONTENT = b'{"rows":[1,2,3]}'


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(f"file://{tmp_path}/claims")


def forged(claims: Claims, **changes: Any) -> bytes:
    """A reference as `put` makes it, with changes."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    url = f"{claims.url}/run/0-1-{digest[:16]}.json"
    return orjson.dumps({"$claim": url, "size": len(CONTENT), "sha256": digest} | changes)


def test_what_is_put_comes_back(claims: Claims) -> None:
    reference = claims.put("run-1", 3, 2, CONTENT)

    assert claims.load(reference) == CONTENT
    assert orjson.loads(reference)["size"] == len(CONTENT)


def test_attempts_never_share_a_file(claims: Claims, tmp_path: Path) -> None:
    for run_id, index, number in (("a", 0, 1), ("a", 0, 2), ("a", 1, 1), ("b", 0, 1)):
        claims.put(run_id, index, number, CONTENT)

    assert len(list(tmp_path.rglob("*.json"))) == 4


def test_ordinary_results_are_left_as_they_are(claims: Claims) -> None:
    for text in (b"1", b'{"$claim":1}', b'{"$claim":"x","size":1,"sha256":"y"}', b'{"$claim":'):
        assert claims.load(text) == text


@pytest.mark.parametrize(
    "changes",
    [
        {"$claim": "file:///etc/passwd"},
        {"$claim": "http://127.0.0.1/latest"},
        {"size": -1},
        {"size": 1 << 40},
        {"more": 1},
        {"sha256": 5},
    ],
)
def test_data_that_looks_like_a_reference_is_data(claims: Claims, changes: dict[str, Any]) -> None:
    text = forged(claims, **changes)

    assert claims.read(text) is None
    assert claims.load(text) == text


@pytest.mark.parametrize("name", ["../secret.json", "run/../../x", "run/0-1-00.json", "/etc/passwd", ""])
def test_names_that_were_never_given_are_not_read(claims: Claims, name: str) -> None:
    assert claims.read(forged(claims, **{"$claim": f"{claims.url}/{name}"})) is None


def test_reference_to_nothing_may_be_tried_again(claims: Claims) -> None:
    with pytest.raises(ClaimFailure) as failure:
        claims.load(forged(claims))

    assert failure.value.kind == "ClaimLost"
    assert not failure.value.permanent


@pytest.mark.parametrize("content", [CONTENT + b" ", CONTENT[:-1], CONTENT.replace(b"3", b"4")])
def test_content_that_was_changed_is_refused(claims: Claims, tmp_path: Path, content: bytes) -> None:
    reference = claims.put("run-1", 0, 1, CONTENT)
    [file] = tmp_path.rglob("*.json")
    file.write_bytes(content)

    with pytest.raises(ClaimFailure) as failure:
        claims.load(reference)

    assert failure.value.kind == "ClaimDamaged"
    assert failure.value.permanent


def test_store_that_takes_nothing_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "claims").write_text("a file is in the way")
    claims = Claims(f"file://{tmp_path}/claims")

    with pytest.raises(ClaimFailure) as failure:
        claims.put("run-1", 0, 1, CONTENT)

    assert failure.value.kind == "ClaimNotStored"


def test_store_of_an_unknown_kind_is_a_sentence() -> None:
    with pytest.raises(SettingsError, match=r"claim_check_url: 'nothing://x' cannot be used"):
        Claims("nothing://x")
