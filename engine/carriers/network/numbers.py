"""Numbers for sale and what the analytics engines say of any number: one memory behind both shapes.

Each area code in service has its hundred fictional numbers (555-0100 to 555-0199), so the same search finds the same
numbers until somebody buys one. A request that carries a known ref is answered as the first one was.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from aiohttp import web

from engine.carriers.network import behaviour
from engine.carriers.network.config import Account
from engine.carriers.network.exchange import Exchange, drop
from engine.rules.area_codes import AreaCode, area_codes

_MONTHLY_COST = 1.15
_MOST = 100
ENGINES = ("north", "middle", "south")


@dataclass(frozen=True, slots=True)
class Owned:
    id: str
    number: str
    account_id: str
    ref: str


class Inventory:
    """What is sold, by number, by ref and by id; labels by number."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sold: dict[str, Owned] = {}
        self._by_ref: dict[str, Owned] = {}
        self._tries: Counter[str] = Counter()
        self.labels: dict[str, str] = {}  # number → what its label says
        lines, _ = exchange.journal.read(0)
        for line in lines:
            if line["type"] == "number":
                self._recall(line)

    def search(self, code: str, contains: str, limit: int) -> list[dict[str, object]]:
        codes = [code] if code else sorted(_geographic())
        found: list[dict[str, object]] = []
        for area in (_geographic()[each] for each in codes if each in _geographic()):
            for last in range(100):
                number = f"+1{area.code}55501{last:02d}"
                if number not in self._sold and contains in number:
                    found.append(_offer(number, area))
                if len(found) == min(limit, _MOST):
                    return found
        return found

    async def buy(self, account: Account, number: str, ref: str, request: web.Request) -> Owned | None:
        """None when it is not on offer. Raises what a fault says, as a create does."""
        if (known := self._by_ref.get(ref)) is not None:
            self._write("bought", known, is_new=False)
            return known
        fault = self._fault(ref, number)
        if fault in ("rate_limit", "drop_before_accept", "redirect"):
            raise _turned_away(fault, request)
        if number in self._sold or not _is_sold_here(number):
            return None
        owned = Owned(f"PN{number[1:]}-{len(self._by_ref)}", number, account.id, ref)
        self._sold[number] = self._by_ref[ref] = owned
        self._write("bought", owned, is_new=True)
        await self._exchange.answer_badly(fault, request)
        return owned

    def release(self, account: Account, owned_id: str, ref: str) -> bool:
        """By id or number; false when it was not held. A number that is given back is on offer again."""
        owned = next((each for each in self._sold.values() if owned_id in (each.id, each.number)), None)
        if owned is None or owned.account_id != account.id:
            return False
        del self._sold[owned.number]
        self._write("released", Owned(owned.id, owned.number, account.id, ref), is_new=True)
        return True

    def engines(self, number: str) -> list[dict[str, object]]:
        """The verdicts on a number. Without a label the scores are low, and fixed by the seed."""
        label = self.labels.get(number)
        chance = behaviour.draws(self._exchange.config.seed, "reputation", number)
        return [
            {
                "engine": engine,
                "flagged": label is not None,
                "spam_score": round(0.9 + unit / 20 if label is not None else unit / 5, 3),
                "complaints": int(3 + 9 * unit) if label is not None else 0,
                "details": label or "",
            }
            for engine, unit in zip(ENGINES, chance, strict=False)
        ]

    def _fault(self, ref: str, number: str) -> str:
        self._tries[ref] += 1
        return behaviour.create_fault(self._exchange.config, self._exchange.faults, ref, self._tries[ref], number)

    def _write(self, action: str, owned: Owned, *, is_new: bool) -> None:
        fields = {"number": owned.number, "account": owned.account_id, "ref": owned.ref, "carrier_id": owned.id}
        self._exchange.journal.write("number", action=action, is_new=is_new, **fields)

    def _recall(self, line: Mapping[str, str]) -> None:
        if line["action"] == "released":
            self._sold.pop(line["number"], None)
            return
        owned = Owned(line["carrier_id"], line["number"], line["account"], line["ref"])
        self._by_ref[owned.ref] = owned
        if line["is_new"]:
            self._sold[owned.number] = owned


def _offer(number: str, area: AreaCode) -> dict[str, object]:
    city = area.zones[0].rpartition("/")[2].replace("_", " ")
    return {
        "phone_number": number,
        "area_code": area.code,
        "locality": city,
        "region": area.region,
        "monthly_cost": _MONTHLY_COST,
    }


@cache
def _geographic() -> Mapping[str, AreaCode]:
    return {code: area for code, area in area_codes().items() if area.kind == "geographic" and area.zones}


def _is_sold_here(number: str) -> bool:
    return len(number) == 12 and number[2:5] in _geographic() and number[5:10] == "55501" and number[10:].isdigit()


def _turned_away(fault: str, request: web.Request) -> Exception:
    if fault == "redirect":
        return web.HTTPTemporaryRedirect(str(request.rel_url))
    if fault == "drop_before_accept":
        return drop(request)
    return web.HTTPTooManyRequests(headers={"Retry-After": "1"})
