"""schemathesis along the links of the document: what one answer names is asked for, changed and deleted next."""

from typing import Any

import pytest
import schemathesis
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.outside.amount import tries
from tests.outside.live import Live
from tests.outside.test_document import DOCUMENT, STREAMS
from tests.outside.things import DID

SAMPLE = 3
STEPS = 12
REQUESTS_PER_INPUT = 0.001  # each is a conversation
UNCHECKED = [positive_data_acceptance, negative_data_rejection]

SCHEMA = schemathesis.openapi.from_dict(DOCUMENT).exclude(path=sorted(STREAMS))


@pytest.mark.slow
def test_conversations_are_answered_as_documented(outside: Live) -> None:
    """What was deleted is gone, what was made is there, whatever came between; and nothing is a 5xx."""
    key = outside.client(numbers=[DID]).key
    machine: Any = SCHEMA.as_state_machine()

    class Conversation(machine):  # type: ignore[misc]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": outside.url, "headers": {"Authorization": f"Bearer {key}"}}

        def validate_response(self, response: Any, case: Any, **more: Any) -> None:
            case.validate_response(response, excluded_checks=UNCHECKED)

    run_state_machine_as_test(Conversation, settings=tries(SAMPLE, REQUESTS_PER_INPUT, STEPS))
