"""One-off contacts in memory, as `store.one_off`, `store.messages` and `store.calls` keep them."""

from collections.abc import Mapping
from datetime import datetime

from engine.ids import new_id
from engine.rules.campaign import CampaignStatus
from engine.simulation.port import TEXT, Kept, Plan, Request
from engine.simulation.rows import CampaignRow, ProspectRow, Rows
from engine.store import messages, one_off
from engine.store.campaigns import DIRECT_CALLS_PER_SECOND


class OneOffs(Rows):
    """The small methods are the fences that negative controls take away."""

    def one_off_of(self, asked: Request, new: int) -> int:
        """What tells a contact from others with this phone: however often its request comes, it is one."""
        return one_off.number_of(asked.name) if asked.name else new

    def sender_of(self, row: ProspectRow) -> str | None:
        """The number that a one-off contact must come from."""
        return None if row.data is None else str(row.data["from"])

    async def direct(self, asked: Request, now: datetime) -> int:
        return self._direct(asked, now).id

    async def create_call(self, asked: Request, now: datetime) -> int:
        return self._add(asked, {**asked.parameters, "from": asked.number}, now).prospect_id

    async def queue_text(self, asked: Request, now: datetime) -> Kept:
        return self._add(asked, messages.columns(asked.number, TEXT, now, purpose=asked.purpose), now)

    def _direct(self, asked: Request, now: datetime) -> CampaignRow:
        for row in self.campaigns.values():
            kind = (row.account_id, row.channel, row.carrier)
            if row.is_direct and kind == (asked.account_id, asked.channel, asked.carrier):
                return row
        plan = Plan(
            new_id(), asked.account_id, asked.channel, {},
            calls_per_second=DIRECT_CALLS_PER_SECOND, carrier=asked.carrier,
        )  # fmt: skip
        made = self.add_campaign(plan)
        made.is_direct, made.status, made.created_at = True, CampaignStatus.DIALING, now
        return made

    def _add(self, asked: Request, data: Mapping[str, object], now: datetime) -> Kept:
        home, new = self._direct(asked, now), new_id()
        number = self.one_off_of(asked, new)
        kept = self._same(asked, number)
        if kept is None:
            kept = self.insert(ProspectRow(home.id, new, home.account_id, asked.phone, data, number, next_at=now))
            self.count_added(home.id, 1)
        return Kept(home.id, kept.id)

    def _same(self, asked: Request, number: int) -> ProspectRow | None:
        """In any hidden campaign of the kind: the account's carrier may have changed since."""
        kind = (asked.account_id, asked.channel)
        homes = [row.id for row in self.campaigns.values() if row.is_direct and (row.account_id, row.channel) == kind]
        found = [self.by_phone.get((home, asked.phone, number)) for home in homes]
        return next(filter(None, found), None)
