"""schemathesis against the real api: nothing that the document allows or forbids makes it answer 5xx, or answer in a
form that is not documented.

Half of the requests name things that exist, so that they come past the 404.
"""

from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.outside.amount import tries
from tests.outside.live import Live
from tests.outside.test_document import DOCUMENT, PUBLIC, STREAMS
from tests.outside.things import DID, make_things

SAMPLE = 6
REQUESTS_PER_INPUT = 0.01  # of the long mode's number: a request costs what a hundred parses cost

# Rules know more than a schema can say: whose number it is, at what hour, in which state.
UNCHECKED = [positive_data_acceptance]

SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = {
    found.ok().label: found.ok()
    for found in SCHEMA.get_all_operations()
    if found.ok().path not in STREAMS  # they do not end: see test_streams
}


@pytest.fixture(scope="module")
def key(outside: Live) -> str:
    return outside.client(numbers=[DID]).key


@pytest.fixture(scope="module")
def things(outside: Live, key: str) -> Mapping[str, str]:
    """A thing of each kind that a path can name."""
    return outside.run(make_things(outside.api, key))


@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "forbidden"])
def test_every_answer_is_a_documented_one(
    outside: Live, key: str, things: Mapping[str, str], label: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[label]
    if mode is GenerationMode.NEGATIVE and operation.path in PUBLIC:
        return  # there is nothing in it that could be forbidden

    @tries(SAMPLE, REQUESTS_PER_INPUT)
    @given(case=operation.as_strategy(generation_mode=mode), is_real=st.booleans())
    def ask(case: Any, is_real: bool) -> None:
        if is_real and mode is GenerationMode.POSITIVE:
            case.path_parameters = {
                name: things.get(name, value) for name, value in (case.path_parameters or {}).items()
            }
        answer = case.call(base_url=outside.url, headers={"Authorization": f"Bearer {key}"})
        is_lenient = bool(case.query) and mode is GenerationMode.NEGATIVE and _has_unknown(operation, case.query)
        case.validate_response(answer, excluded_checks=[*UNCHECKED, *([negative_data_rejection] if is_lenient else [])])

    ask()


def _has_unknown(operation: Any, query: Mapping[str, Any]) -> bool:
    """Unknown parameters of a query are ignored: caches and browsers add some."""
    return bool(query.keys() - {each.name for each in operation.query})
