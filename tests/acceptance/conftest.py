"""What the acceptance tests share: topics of their own on the real broker."""

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
