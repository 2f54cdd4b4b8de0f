"""Secrets are read from where they are said to be, and errors never show them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.errors import SettingsError
from tidemill.project.model import Secret
from tidemill.sinks.secrets import MAX_SECRET_BYTES, read_secret


def test_secret_is_read_from_a_variable(tmp_path: Path) -> None:
    value = read_secret(Secret("env", "ORDERS_SECRET"), tmp_path, environ={"ORDERS_SECRET": "whsec_abc"})

    assert value == "whsec_abc"


def test_secret_is_read_from_the_environment_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMILL_TEST_SECRET", "whsec_from_process")

    assert read_secret(Secret("env", "TIDEMILL_TEST_SECRET"), tmp_path) == "whsec_from_process"


def test_secret_is_read_from_a_file_without_its_last_newline(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("whsec_abc\n")

    assert read_secret(Secret("file", "secret.txt"), tmp_path, environ={}) == "whsec_abc"


@pytest.mark.parametrize("value", [None, "", "  \n"], ids=["missing", "empty", "blank"])
def test_variable_without_a_value_is_named(tmp_path: Path, value: str | None) -> None:
    environ = {} if value is None else {"ORDERS_SECRET": value}

    with pytest.raises(SettingsError, match="variable ORDERS_SECRET is"):
        read_secret(Secret("env", "ORDERS_SECRET"), tmp_path, environ=environ)


def test_missing_file_is_named_as_it_was_written(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"file keys/orders\.txt cannot be read") as caught:
        read_secret(Secret("file", "keys/orders.txt"), tmp_path, environ={})

    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\xff canary", b"canary" * MAX_SECRET_BYTES], ids=["not_text", "too_long"]
)
def test_file_that_cannot_be_a_secret_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret.txt").write_bytes(content)

    with pytest.raises(SettingsError, match=r"file secret\.txt") as caught:
        read_secret(Secret("file", "secret.txt"), tmp_path, environ={})

    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
