"""What the acceptance tests share: topics of their own on the real broker, and each database in turn."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from tests.acceptance.topic import PARTITIONS, completions_of


@pytest.fixture
def make_topic(kafka: str) -> Callable[[], Awaitable[str]]:
    """Makes a topic that nobody else uses, with another one for the completions of what comes from it."""

    async def make() -> str:
        topic = f"acceptance-{uuid.uuid4().hex[:12]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            names = (topic, completions_of(topic))
            answer = await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
        finally:
            await admin.close()
        assert [error[1] for error in answer.topic_errors] == [0, 0]
        return topic

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def postgres(request: pytest.FixtureRequest) -> str | None:
    """The address of an empty PostgreSQL database; None where state is kept in SQLite. The test runs with both."""
    if request.param == "sqlite":
        return None
    url: str = request.getfixturevalue("postgres_url")
    return url
