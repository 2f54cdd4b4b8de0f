"""See `tests/unit/engine/test_limits.py`."""

import pytest
from tests.unit.engine.test_limits import *  # noqa: F403

pytestmark = pytest.mark.postgres
