"""A forecast against what then happens: a campaign of real processes, with retries and a window that closes on it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from tests.acceptance.stack import Stack, create, phones, running_stack, until_completed

pytestmark = pytest.mark.slow

SPEED = 480.0  # a civil hour takes 7.5 s
BEFORE = timedelta(minutes=45)  # at least so long before the window closes; requests stop 24 minutes earlier
PEOPLE = 60
WITHIN = 0.1


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("forecast"), workers=1, civil_speed=SPEED) as stack:
        yield stack


def closing_soon(now: datetime) -> dict[str, object]:
    """A schedule whose day ends at the first full hour that is `BEFORE` away, and begins again an hour later."""
    closes = (now + BEFORE + timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    ahead = 23 - closes.hour
    zone = f"Etc/GMT-{ahead}" if 0 < ahead <= 14 else "Etc/GMT" if ahead == 0 else f"Etc/GMT+{24 - ahead}"
    return {"timezone": zone, "startHour": 0, "endHour": 23}


async def test_a_campaign_ends_when_its_forecast_said(stack: Stack) -> None:
    async with stack.api() as api:
        # Some calls before, so that outcomes and their times are the network's own: it runs faster than life.
        first = await create(api, phones(60), {"calls_per_second": 10})
        await until_completed(api, first)
        now = datetime.fromisoformat((await api.get(f"/api/campaigns/{first}/forecast"))["at"])
        mode = {"calls_per_second": 1.5, "max_retries": 1, "retry_delay": "10m"}
        body = {"name": "foretold", "purpose": "emergency", "mode": mode, "schedule": closing_soon(now)}
        campaign = str((await api.post("/api/campaigns", body))["id"])
        await api.post(f"/api/campaigns/{campaign}/prospects", {"phones": phones(PEOPLE, first=100)})
        await api.post(f"/api/campaigns/{campaign}/start")
        foretold = await api.get(f"/api/campaigns/{campaign}/forecast")
        await until_completed(api, campaign)
        detail = await api.get(f"/api/campaigns/{campaign}")

    began, ended = (datetime.fromisoformat(detail[name]) for name in ("startedAt", "endedAt"))
    said = datetime.fromisoformat(foretold["finishAt"])
    print(f"took {ended - began}, foretold {said - began}; {foretold['holding']}")
    assert foretold["basis"]["source"] == "account"
    assert foretold["holding"]["window"] > 3_600
    assert abs((said - ended) / (ended - began)) <= WITHIN
    await stack.check(["P1", "P5"])
