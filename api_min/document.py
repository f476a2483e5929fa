"""The OpenAPI document: what FastAPI derives from the routes, completed with what it cannot see.

Which refusals a route can answer follows from its form: every one with a key may be refused for it, those that name a
thing may not find it, writes may conflict. What the rules check themselves, such as the form of a telephone number, is
described here, so that generated clients and tests send what can be accepted.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from api_min.idempotent import HEADER, REPLAY
from engine.store.keys import SCOPES

Json = dict[str, Any]

_BEARER, _TOKEN = "API key", "Key in the query"
_WRITES = ("post", "put", "patch", "delete")
_STREAM = "text/event-stream"
_STREAM_SCOPES = {"/api/v1/sms/stream": ["sms:read"]}  # streams look at their key themselves; the others take any

_E164 = {"pattern": r"^\+[1-9][0-9]{6,14}$", "example": "+14155550123"}
_ID = "^{}_[0-7][0-9a-hjkmnp-tv-z]{{12}}$"
_DAY = {"format": "date", "example": "2026-03-01"}
_LIMIT = {"minimum": 1, "maximum": 1_000, "example": 100}
# Every other parameter `<noun>_id` holds an id whose prefix is the noun.
_PREFIXES = {
    "campaign_id": "camp",
    "message_id": "msg",
    "call_id": "call",
    "webhook_id": "whk",
    "operation_id": "op",
}
_PARAMETERS: Mapping[str, Json] = {
    "n": {"minimum": 1, "example": 1},
    "number": _E164,
    "phone": _E164,
    "prospect_id": {
        "pattern": rf"{_ID.format('pros')}|{_E164['pattern']}",
        "example": "pros_0000000000001",
    },
    "from": _E164,
    "to": _E164,
    "limit": _LIMIT,
    "region": {"pattern": "^[A-Za-z]{2}$", "example": "US"},
    "status": {"enum": ["queued", "dialing", "sending", "sent", "completed", "cancelled", None]},
    "direction": {"enum": ["inbound", "outbound", None]},
    "areaCode": {"pattern": "^([2-9][0-9]{2})?$", "example": "949"},
    "quantity": {"minimum": 1, "maximum": 100, "example": 10},
    "contains": {"pattern": "^[0-9]{0,10}$", "example": "555"},
    "stream": {"enum": ["user", "account"]},
}
# What a property must be beyond its type: `Schema.property` → keywords of its schema.
_PROPERTIES: Mapping[str, Json] = {
    "CallIn.from": _E164,
    "CallIn.to": _E164,
    "MessageIn.from": _E164,
    "MessageIn.to": _E164,
    "DidIn.number": _E164,
    "KeyIn.scopes": {"items": {"type": "string", "enum": [*SCOPES]}},
    "PhonesIn.phones": {"items": {"type": "string", **_E164}},
    "PurchaseIn.numbers": {"items": {"type": "string", **_E164}, "uniqueItems": True},
    "CampaignIn.callerIds": {"items": {"type": "string", "example": "+19495551000"}},
}
_EXAMPLES: Mapping[str, Json] = {
    "PurchaseIn": {"numbers": ["+19495550100"]},
}
_ERRORS: Mapping[str, tuple[str, str, str]] = {  # status → description, code, message
    "400": ("Something in it is wrong; `fields` says what", "validation_error", "invalid request: name: is required"),
    "401": ("No key, or none that works", "unauthorized", "this key is unknown, revoked or expired"),
    "403": ("The key lacks the scope", "forbidden", "this key lacks the scope campaigns:write"),
    "404": ("There is no such thing in your account", "not_found", "there is no such campaign"),
    "408": ("The body came too slowly", "request_timeout", "the body came too slowly; send it again"),
    "409": ("It is in another state, or the Idempotency-Key was used", "conflict", "cannot pause a campaign that is …"),
    "413": ("The body is too large", "too_large", "the body is over 2,000,000 bytes"),
    "422": ("The text is refused for what it says", "content_rejected", "the text is refused"),
    "429": ("Over the key's rate", "rate_limited", "over this key's 6000 requests a minute"),
    "500": ("A fault of ours", "internal_error", "something went wrong on our side; quote req_… to support"),
    "503": ("Something that we need is away", "unavailable", "the database is not reachable; try again in a moment"),
}
_HEADERS: Mapping[str, Mapping[str, str]] = {
    "401": {"WWW-Authenticate": "`Bearer`"},
    "429": {"Retry-After": "seconds to wait"},
    "503": {"Retry-After": "seconds to wait"},
}
_KEYED: Json = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "carries the request out once: a repeat within a day gets the first answer again",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "example": "0d2f6a3c-autumn-1",
}
_ONCE = {"NewKeyOut": "key", "NewWebhookOut": "secret"}  # shown once: a replayed answer leaves it out
# Where the id of what a 201 made leads: the schema of the answer → path parameter.
_MADE = {
    "CampaignOut": "campaign_id",
    "CallOut": "call_id",
    "QueuedOut": "message_id",
    "NewWebhookOut": "webhook_id",
    "NewKeyOut": "key_id",
    "TeamOut": "team_id",
    "UserOut": "user_id",
    "LineOut": "line_id",
    "OperationOut": "operation_id",
}


def complete(described: Json) -> Json:
    """Completes the document in place, and returns it."""
    schemas = described["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which we never answer
        schemas.pop(name, None)
    for place, more in _PROPERTIES.items():
        name, _, field = place.partition(".")
        _narrow(schemas[name]["properties"][field], more)
    for name, field in _ONCE.items():
        schemas[name]["required"].remove(field)
    for name, example in _EXAMPLES.items():
        schemas[name].setdefault("examples", [example])
    described["components"]["securitySchemes"][_TOKEN] = {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "for streams alone, where a client cannot send a header; never logged",
    }
    for path, method, operation in operations(described):
        _complete(path, method, operation)
    _link(described)
    return described


def operations(described: Json) -> Iterator[tuple[str, str, Json]]:
    """Path, method in lower case, and operation of all of them."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _complete(path: str, method: str, operation: Json) -> None:
    responses = operation["responses"]
    parameters = operation.setdefault("parameters", [])
    if is_stream := _STREAM in responses["200"].get("content", {}) if "200" in responses else False:
        operation["security"] = [{_BEARER: _STREAM_SCOPES.get(path, [])}, {_TOKEN: []}]
        operation["tags"] = ["events"]
        parameters[:] = [each for each in parameters if each["name"] != "token"]
    for parameter in parameters:
        _describe(parameter, path)
    if method in _WRITES:
        parameters.append(_KEYED)
    own = {status: response for status, response in responses.items() if status < "400" or status == "422"}
    if _is_validation(own.get("422")):
        del own["422"]
    for status in _statuses(path, method, operation, is_stream):
        own[status] = _error(status)
    for status, response in own.items():
        _add_headers(status, response, method)
    operation["responses"] = dict(sorted(own.items()))


def _statuses(path: str, method: str, operation: Json, is_stream: bool) -> list[str]:
    """The refusals that follow from the form of a route."""
    if not operation.get("security"):
        return []  # public
    if is_stream:
        return ["400", "401", "403", "500"]  # over its rate, or without the database, it is cut: clients come back
    found = ["400", "401", "403", "429", "500", "503"]
    if "{" in path or any(each["name"] == "campaignId" for each in operation["parameters"]):
        found.append("404")
    asks_carrier = "202" in operation["responses"]
    if method in _WRITES or asks_carrier:
        found.append("409")
    if method in _WRITES:
        found += ["408", "413"]
    if "422" in operation["responses"] and not _is_validation(operation["responses"]["422"]):
        found.append("422")
    return found


def _error(status: str) -> Json:
    description, code, message = _ERRORS[status]
    example = {"error": {"code": code, "message": message, "fields": {}}}
    schema = {"$ref": "#/components/schemas/ErrorOut"}
    return {"description": description, "content": {"application/json": {"schema": schema, "example": example}}}


def _add_headers(status: str, response: Json, method: str) -> None:
    headers = {"X-Request-Id": "names this request in our logs", **_HEADERS.get(status, {})}
    if method in _WRITES and status < "300":
        headers[REPLAY] = "`true` when this is the first answer again"
    if status == "202":
        headers["Location"] = "where the operation can be asked for"
    described = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    response.setdefault("headers", {}).update(described)


def _describe(parameter: Json, path: str) -> None:
    name = parameter["name"]
    if name == "last-event-id":
        parameter |= {"name": "Last-Event-ID", "description": "the last id that you have seen"}
    elif name == "lastEventId":
        parameter["description"] = "the same, where no header can be sent; the header wins"
    elif name in ("from", "to") and path.endswith("/usage"):
        _narrow(parameter["schema"], _DAY)
    elif name == "campaignId":
        _narrow(parameter["schema"], _public_id("camp"))
    elif name in _PARAMETERS:
        _narrow(parameter["schema"], _PARAMETERS[name])
    elif name.endswith("_id"):
        _narrow(parameter["schema"], _public_id(_PREFIXES.get(name, name.removesuffix("_id"))))


def _public_id(prefix: str) -> Json:
    return {"pattern": _ID.format(prefix), "example": f"{prefix}_01hq3v8x2k4tz"}


def _narrow(schema: Json, more: Json) -> None:
    """Of a value that may be null, the keywords belong to the other branch, but for an enumeration."""
    more = dict(more)
    if (example := more.pop("example", None)) is not None:
        schema.setdefault("examples", [example])
    branches = schema.get("anyOf", [])
    target = next((each for each in branches if each.get("type") != "null"), schema)
    if "enum" in more and target is not schema:
        schema.update(more)
        return
    target.update(more)


def _link(described: Json) -> None:
    """From each answer with the id of something new to what can be done with it."""
    for _, _, operation in operations(described):
        for status, response in operation["responses"].items():
            reference = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
            parameter = _MADE.get(reference.rpartition("/")[2])
            if parameter and (status in ("201", "202")):
                response["links"] = _links(described, parameter)


def _links(described: Json, parameter: str) -> Json:
    links: Json = {}
    for path, _, operation in operations(described):
        if re.findall(r"\{(\w+)\}", path) == [parameter]:
            name = operation["operationId"]
            links[name] = {"operationId": name, "parameters": {parameter: "$response.body#/id"}}
    return links


def _is_validation(response: Json | None) -> bool:
    """FastAPI's own description of a 422, which is not the one that a refused text gets."""
    return response is not None and "HTTPValidationError" in str(response)
