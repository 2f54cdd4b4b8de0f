"""See `tests/unit/routing/test_router.py`."""

import pytest
from tests.unit.routing.test_router import *  # noqa: F403

pytestmark = pytest.mark.postgres
