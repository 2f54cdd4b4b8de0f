"""What the acceptance tests share: topics of their own on the real broker."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


@pytest.fixture
def make_topic(kafka: str) -> Callable[[], Awaitable[str]]:
    """Makes a topic of three partitions that nobody else uses."""

    async def make() -> str:
        topic = f"acceptance-{uuid.uuid4().hex[:12]}"
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        try:
            answer = await admin.create_topics([NewTopic(topic, 3, 1)])
        finally:
            await admin.close()
        assert [error[1] for error in answer.topic_errors] == [0]
        return topic

    return make
