"""Numbers at the simulated carrier, in both its shapes: what is on offer, buying, giving back.

Buying and giving back carry our `ref`, and the carrier answers a repeat of it as it answered the first: so a request
whose answer was lost is simply sent again.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from engine.carriers.http import Answer, CarrierHttp, refused
from engine.carriers.port import (
    CarrierError,
    Fault,
    NumberOffer,
    NumberSearch,
    Offers,
    Outcome,
    Receipt,
)

Faults = Mapping[str, tuple[Fault, bool]]

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)


class CommandNumbers:
    """The command shape: JSON, orders."""

    def __init__(self, http: CarrierHttp, faults: Faults) -> None:
        self._http, self._faults = http, faults

    async def search(self, wanted: NumberSearch) -> Offers:
        query = urlencode(
            {"area_code": wanted.area_code, "contains": wanted.contains, "limit": wanted.quantity}, quote_via=quote
        )
        answer = await self._http.request("GET", f"/command/v2/available_phone_numbers?{query}")
        try:
            return Offers(tuple(_offer(row, "phone_number") for row in answer.json()["data"]))
        except _UNREADABLE:
            return Offers((), _error_of(answer, *_command_error(answer), self._faults))

    async def buy(self, number: str, ref: str) -> Receipt:
        body = {"phone_number": number, "customer_reference": ref}
        answer = await self._http.request("POST", "/command/v2/number_orders", json=body)
        return _receipt(answer, *_command_error(answer), self._faults, lambda found: found["data"]["id"])

    async def release(self, carrier_id: str, ref: str) -> Receipt:
        path = f"/command/v2/phone_numbers/{quote(carrier_id, safe='')}?customer_reference={quote(ref, safe='')}"
        answer = await self._http.request("DELETE", path)
        return _receipt(answer, *_command_error(answer), self._faults, lambda _: carrier_id)


class DocumentNumbers:
    """The document shape: forms, resources of the account."""

    def __init__(self, http: CarrierHttp, account_path: str, faults: Faults) -> None:
        self._http, self._path, self._faults = http, account_path, faults

    async def search(self, wanted: NumberSearch) -> Offers:
        query = urlencode({"AreaCode": wanted.area_code, "Contains": wanted.contains, "PageSize": wanted.quantity})
        answer = await self._http.request("GET", f"{self._path}/AvailablePhoneNumbers.json?{query}")
        try:
            return Offers(tuple(_offer(row, "phone_number") for row in answer.json()["available_phone_numbers"]))
        except _UNREADABLE:
            return Offers((), _error_of(answer, *_document_error(answer), self._faults))

    async def buy(self, number: str, ref: str) -> Receipt:
        form = [("PhoneNumber", number), ("Ref", ref)]
        answer = await self._http.request("POST", f"{self._path}/IncomingPhoneNumbers.json", form=form)
        return _receipt(answer, *_document_error(answer), self._faults, lambda found: found["sid"])

    async def release(self, carrier_id: str, ref: str) -> Receipt:
        path = f"{self._path}/IncomingPhoneNumbers/{quote(carrier_id, safe='')}.json?Ref={quote(ref, safe='')}"
        answer = await self._http.request("DELETE", path)
        return _receipt(answer, *_document_error(answer), self._faults, lambda _: carrier_id)


def _offer(row: Mapping[str, Any], key: str) -> NumberOffer:
    return NumberOffer(
        str(row[key]), str(row["area_code"]), str(row["locality"]), str(row["region"]), float(row["monthly_cost"])
    )


def _receipt(answer: Answer, code: str, text: str, faults: Faults, id_of: Any) -> Receipt:
    if answer.status == 0:
        return Receipt(Outcome.UNKNOWN, error=CarrierError(Fault.UNKNOWN, "no_answer", answer.text, retryable=True))
    if not answer.ok:
        return refused(answer, code, text, faults)
    try:
        return Receipt(Outcome.ACCEPTED, str(id_of(answer.json())))
    except _UNREADABLE:
        return Receipt(Outcome.UNKNOWN, error=CarrierError(Fault.UNKNOWN, "no_id", "a 2xx answer without an id"))


def _error_of(answer: Answer, code: str, text: str, faults: Faults) -> CarrierError:
    receipt = _receipt(answer, code, text, faults, lambda _: "")
    return receipt.error or CarrierError(Fault.UNKNOWN, "unreadable", "an answer that cannot be read", retryable=True)


def _command_error(answer: Answer) -> tuple[str, str]:
    errors = answer.json().get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    return str(first.get("code", "")), str(first.get("title", "")) or answer.text


def _document_error(answer: Answer) -> tuple[str, str]:
    body = answer.json()
    return str(body.get("code", "")), str(body.get("message", "")) or answer.text
