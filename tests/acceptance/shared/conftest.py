"""One stack for files that need nothing special of theirs: to start and stop one takes ten seconds of CPU time.

One pytest worker gets the whole folder (`tests/conftest.py`). What makes thousands of calls comes last: the
numbers that they go out from may come to rest.
"""

from collections.abc import Iterator

import pytest

from tests.acceptance.stack import Stack, running_stack

ONE_OFF_RATE = 10  # single messages of a number, a second


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two workers. Who shares it has phones of their own and leaves no fault and nothing under way behind."""
    settings = {
        "CARILLON_HINT_LEASE_S": "4",  # what died with a queue or a worker is enqueued again after this
        "CARILLON_CARRIER_TIMEOUT_S": "2",
        "CARILLON_RECONCILE_AFTER_S": "1",
        "CARILLON_DELIVERY_DEADLINE_S": "600",
        "CARILLON_SMS_PER_SECOND": str(ONE_OFF_RATE),
    }
    with running_stack(tmp_path_factory.mktemp("shared"), **settings) as stack:
        yield stack
