"""The OpenAPI document is whole: what a client may send, how it proves who it is, and every answer that it may get."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from api_min.app import create_app
from api_min.document import operations
from engine.settings import Settings
from engine.store.keys import SCOPES

WRITES = {"post", "put", "patch", "delete"}
PUBLIC = {"/api/events/catalog", "/api/events/asyncapi.json"}
STREAMS = {"/api/events", "/api/realtime/events", "/api/v1/sms/stream"}


def document() -> dict[str, Any]:
    """The document, without servers: nothing of them is in it."""
    settings = Settings.model_validate({"DATABASE_URL": "postgresql://none/none", "REDIS_URL": "redis://none"})
    held: Any = SimpleNamespace(
        runtime=SimpleNamespace(settings=settings), keys=SimpleNamespace(identify=None), hub=None
    )
    return create_app(held).openapi()


DOCUMENT = document()
OPERATIONS = list(operations(DOCUMENT))
each_operation = pytest.mark.parametrize(
    ("path", "method", "operation"), OPERATIONS, ids=[f"{method.upper()} {path}" for path, method, _ in OPERATIONS]
)


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name] if name else schema


@each_operation
def test_who_may_call_it(path: str, method: str, operation: dict[str, Any]) -> None:
    if path in PUBLIC:
        assert "security" not in operation
        return
    schemes = DOCUMENT["components"]["securitySchemes"]
    for requirement in operation["security"]:
        for name, scopes in requirement.items():
            assert name in schemes
            assert set(scopes) <= {*SCOPES}
    assert ({"Key in the query": []} in operation["security"]) == (path in STREAMS)


@each_operation
def test_every_refusal_is_described(path: str, method: str, operation: dict[str, Any]) -> None:
    expected = set()
    if path not in PUBLIC:
        expected |= {"400", "401", "403", "500"}
        expected |= set() if path in STREAMS else {"429", "503"}
    expected |= {"404"} if "{" in path else set()
    expected |= {"408", "409", "413"} if method in WRITES else set()
    assert expected <= operation["responses"].keys()
    for status, response in operation["responses"].items():
        assert response["description"] != ""
        if status >= "400":
            body = response["content"]["application/json"]
            assert body["schema"] == {"$ref": "#/components/schemas/ErrorOut"}
            assert set(body["example"]["error"]) == {"code", "message", "fields"}
        assert "X-Request-Id" in response["headers"]
    assert ("Retry-After" in operation["responses"].get("429", {}).get("headers", {})) == ("429" in expected)


@each_operation
def test_its_good_answer_has_a_form(path: str, method: str, operation: dict[str, Any]) -> None:
    good = {status: each for status, each in operation["responses"].items() if status < "300"}
    assert good
    for status, response in good.items():
        if status != "204":
            assert response["content"], path
            if path not in PUBLIC | STREAMS and "application/json" in response["content"]:
                assert resolve(response["content"]["application/json"]["schema"])["properties"]


@each_operation
def test_its_parameters_and_body_have_a_form_and_an_example(path: str, method: str, operation: dict[str, Any]) -> None:
    names = re.findall(r"\{(\w+)\}", path)
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert set(names) <= parameters.keys()
    for name in names:
        schema = parameters[name]["schema"]
        assert schema["examples"], f"{name}: add it to document._PARAMETERS, or to _PREFIXES when it is an id"
        assert "pattern" in schema or schema["type"] == "integer"
    assert ("Idempotency-Key" in parameters) == (method in WRITES)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body:
        schema = resolve(body["schema"])
        assert schema["examples"], f"give the schema of {method} {path} an example"
        assert schema["additionalProperties"] is False


def test_what_is_made_leads_to_what_can_be_done_with_it() -> None:
    links = DOCUMENT["paths"]["/api/campaigns"]["post"]["responses"]["201"]["links"]
    assert len(links) >= 8
    known = {operation["operationId"] for _, _, operation in OPERATIONS}
    linked = 0
    for _, _, operation in OPERATIONS:
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                assert link["operationId"] in known
                linked += 1
    assert linked >= 20


def test_names_of_operations_are_unique() -> None:
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(names) == len(set(names))


def test_nothing_of_the_framework_s_own_validation_is_left() -> None:
    assert "HTTPValidationError" not in str(DOCUMENT)
    unprocessable = {path for path, _, operation in OPERATIONS if "422" in operation["responses"]}
    assert "/api/sms" in unprocessable
    assert "/api/campaigns" not in unprocessable
