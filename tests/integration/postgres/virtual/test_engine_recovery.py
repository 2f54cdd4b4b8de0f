"""See `tests/unit/engine/test_recovery.py`."""

import pytest
from tests.unit.engine.test_recovery import *  # noqa: F403

pytestmark = pytest.mark.postgres
