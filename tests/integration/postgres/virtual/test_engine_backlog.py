"""See `tests/unit/engine/test_backlog.py`."""

import pytest
from tests.unit.engine.test_backlog import *  # noqa: F403

pytestmark = pytest.mark.postgres
