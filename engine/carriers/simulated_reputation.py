"""The analytics engines of the simulated network, all asked by one request."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from engine.carriers.http import Answer, CarrierHttp, HttpOptions
from engine.carriers.port import CarrierError, Fault
from engine.carriers.verdicts import Verdicts
from engine.rules.reputation import EngineVerdict

_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)


class SimulatedReputation:
    """Account settings: `base_url`, `secret` (bearer token)."""

    name = "simulated"

    def __init__(self, settings: Mapping[str, str], http: HttpOptions) -> None:
        self._http = CarrierHttp(settings["base_url"], {"Authorization": f"Bearer {settings['secret']}"}, http)

    async def check(self, number: str) -> Verdicts:
        answer = await self._http.request("GET", f"/reputation/v1/numbers/{quote(number, safe='')}")
        if not answer.ok:
            return Verdicts((), _error(answer))
        try:
            return Verdicts([_verdict(row) for row in answer.json()["engines"]])
        except _UNREADABLE:
            return Verdicts((), CarrierError(Fault.UNKNOWN, "unreadable", "an answer that cannot be read"))

    async def close(self) -> None:
        await self._http.close()


def _verdict(row: Mapping[str, Any]) -> EngineVerdict:
    return EngineVerdict(
        str(row["engine"]),
        row["flagged"] is True,
        min(1.0, max(0.0, float(row["spam_score"]))),
        int(row["complaints"]),
        str(row["details"]),
    )


def _error(answer: Answer) -> CarrierError:
    is_final = 400 <= answer.status < 500 and answer.status != 429
    code = f"http_{answer.status}" if answer.status else "no_answer"
    return CarrierError(Fault.BAD_REQUEST if is_final else Fault.TRANSIENT, code, answer.text, retryable=not is_final)
