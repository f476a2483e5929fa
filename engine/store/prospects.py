"""Prospects: the people of a campaign. The row is the truth; the counters move in the same transaction (P1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import Conflict
from engine.ids import encode
from engine.rules.campaign import ACCEPTS_PROSPECTS, CampaignStatus, allowed_actions
from engine.rules.prospect import Outcome, ProspectState
from engine.rules.stats import Delta
from engine.store import campaigns, counts
from engine.store.campaigns import Campaign

# Until the sweep has passed, the queued rows of a cancelled campaign are cancelled already: readers see them so.
_STATE = f"case when :is_cancelled and state = {ProspectState.QUEUED:d} then {ProspectState.CANCELLED:d} else state end"
_COLUMNS = f"""id, campaign_id, account_id, phone, {_STATE} as state, attempt, outcome, reason, data,
    case when isfinite(next_attempt_at) then next_attempt_at end as next_attempt_at"""
_PAGE = text(f"""
    select {_COLUMNS} from prospects
     where campaign_id = :campaign_id and id > :after and (cast(:state as smallint) is null or {_STATE} = :state)
     order by id limit :limit
""")
_GET = text(f"select {_COLUMNS} from prospects where campaign_id = :campaign_id and id = :id")
_BY_PHONE = text(f"""
    select {_COLUMNS} from prospects where campaign_id = :campaign_id and phone = :phone and one_off = 0
""")
_ADD = text("""
    insert into prospects (campaign_id, account_id, phone)
    select :campaign_id, :account_id, phone
      from unnest(cast(:phones as text[])) with ordinality as given(phone, n) order by n
    on conflict (campaign_id, phone, one_off) do nothing
""")


@dataclass(frozen=True, slots=True)
class Prospect:
    id: int
    campaign_id: int
    account_id: int
    phone: str
    state: ProspectState
    attempt: int  # the next, or the open, attempt's number
    outcome: Outcome | None
    reason: str | None
    data: Mapping[str, object] | None  # further columns of an import
    next_attempt_at: datetime | None  # engine time; None: at once, or never again

    @property
    def public_id(self) -> str:
        return encode("pros", self.id)


async def add(engine: AsyncEngine, campaign: Campaign, phones: Sequence[str]) -> int:
    """Adds E.164 numbers in their order and returns how many were new to the campaign.

    Raises Conflict when the campaign takes no prospects (any more), and as `campaigns.locked` does.
    """
    async with engine.begin() as conn:
        await campaigns.take_intake(conn, campaign.id)
        await check_open(conn, campaign)
        params = {"campaign_id": campaign.id, "account_id": campaign.account_id, "phones": list(phones)}
        added = (await conn.execute(_ADD, params)).rowcount
        await count_added(conn, campaign.id, added)
    return added


async def page(
    conn: AsyncConnection,
    campaign: Campaign,
    limit: int | None = None,
    after_id: int | None = None,
    state: ProspectState | None = None,
) -> list[Prospect]:
    """Prospects by id, in the order they were added; `after_id` continues behind the last one of the page before."""
    params = _reader(campaign) | {"after": after_id or 0, "state": state, "limit": limit}
    return [_prospect(row) for row in await conn.execute(_PAGE, params)]


async def get(conn: AsyncConnection, campaign: Campaign, prospect_id: int) -> Prospect | None:
    row = (await conn.execute(_GET, _reader(campaign) | {"id": prospect_id})).one_or_none()
    return _prospect(row) if row else None


async def by_phone(conn: AsyncConnection, campaign: Campaign, phone: str) -> Prospect | None:
    """The campaign's prospect with this E.164 number; a number is in a campaign once."""
    row = (await conn.execute(_BY_PHONE, _reader(campaign) | {"phone": phone})).one_or_none()
    return _prospect(row) if row else None


async def check_open(conn: AsyncConnection, campaign: Campaign) -> None:
    """Raises Conflict unless the campaign takes prospects now. Decisive only under `campaigns.take_intake`."""
    now = await campaigns.get(conn, campaign.account_id, campaign.id)
    if now.status not in ACCEPTS_PROSPECTS:
        raise Conflict(
            f"prospects can be added while a campaign is {' or '.join(ACCEPTS_PROSPECTS)}; it is {now.status}",
            {"status": str(now.status), "allowed": [str(action) for action in allowed_actions(now.status)]},
        )


async def count_added(conn: AsyncConnection, campaign_id: int, added: int) -> None:
    """Counts `added` new queued prospects, in the transaction that inserts them."""
    delta = Delta()
    delta.add("total", added)
    delta.add("queued", added)
    await counts.add(conn, {campaign_id: delta} if added else {}, counts.client_writer())


def _reader(campaign: Campaign) -> dict[str, object]:
    return {"campaign_id": campaign.id, "is_cancelled": campaign.status is CampaignStatus.CANCELLED}


def _prospect(row: Row[tuple[object, ...]]) -> Prospect:
    fields = dict(row._mapping)
    outcome = fields["outcome"]
    fields["state"] = ProspectState(fields["state"])
    return Prospect(**fields | {"outcome": None if outcome is None else Outcome(outcome)})
