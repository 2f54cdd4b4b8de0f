"""See `tests/unit/engine/test_attempts.py`."""

import pytest
from tests.unit.engine.test_attempts import *  # noqa: F403

pytestmark = pytest.mark.postgres
