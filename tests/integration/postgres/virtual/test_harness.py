"""See `tests/unit/testing/test_harness.py`."""

import pytest
from tests.unit.testing.test_harness import (  # noqa: F401
    test_asking_for_a_run_that_is_not_there_says_so,
    test_harness_finds_what_was_committed_although_the_answer_was_lost,
    test_harness_runs_events_until_there_is_nothing_left_to_do,
    test_harness_says_what_it_waits_for_when_time_brings_nothing,
)

pytestmark = pytest.mark.postgres
