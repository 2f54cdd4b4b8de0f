"""See `tests/unit/engine/test_shards.py`."""

import pytest
from tests.unit.engine.test_shards import *  # noqa: F403

pytestmark = pytest.mark.postgres
