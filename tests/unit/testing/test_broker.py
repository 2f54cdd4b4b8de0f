"""Finding what a broker needs, and saying what is missing; the broker itself is in the Kafka tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.testing import broker
from tidemill.testing.broker import BrokerError, KafkaBroker, find_jars, require_jars


def test_find_jars_prefers_the_folder_that_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kafka_2.13-4.3.0.jar").touch()
    monkeypatch.setenv("TIDEMILL_KAFKA_JARS", str(tmp_path))

    assert find_jars() == tmp_path


def test_require_jars_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_KAFKA_JARS", str(tmp_path))
    monkeypatch.setattr(broker.shutil, "which", lambda name: f"/usr/bin/{name}")

    with pytest.raises(BrokerError, match="scripts/kafka-jars"):
        require_jars()


def test_require_jars_says_that_java_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker.shutil, "which", lambda name: None)

    with pytest.raises(BrokerError, match="java"):
        require_jars()


def test_broker_that_was_never_started_has_nothing_to_stop(tmp_path: Path) -> None:
    never = KafkaBroker(tmp_path, tmp_path / "work")

    never.stop()
    never.kill()

    assert never.pid is None
    assert not (tmp_path / "work").exists()
