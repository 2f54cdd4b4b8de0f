"""What every test may ask for: a real Kafka broker."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tidemill.testing.broker import BrokerError, KafkaBroker, require_jars


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """One real broker for the whole session; skips without Java or jars, and fails there when CI=true."""
    try:
        jars = require_jars()
    except BrokerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI needs a Kafka broker: {error}")
        pytest.skip(str(error))
    with KafkaBroker(jars, tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(kafka_broker: KafkaBroker) -> str:
    """Bootstrap servers of the session's broker."""
    return kafka_broker.bootstrap_servers
