"""`billing.usage`: at most once a second per account and meter, only when something was used.

Accounts with running campaigns, the hidden ones of one-off messages among them, are looked at every second; once a
minute all, for those that only receive.
"""

from datetime import timedelta

from engine.clock import boottime
from engine.coordinator.shard import Shard
from engine.rules.usage import day_of
from engine.runtime import Runtime
from engine.store import usage

_DAYS_BACK = 4  # a text counts on the day of its intent, however late its carrier speaks: within 72 h
_SWEEP_S = 60.0


class Usage:
    every_s = 1.0

    def __init__(self, runtime: Runtime, shard: Shard) -> None:
        self._runtime, self._shard = runtime, shard
        self._swept_at = float("-inf")

    async def run_once(self) -> int:
        """Returns how many events were published."""
        is_sweep = boottime() - self._swept_at >= _SWEEP_S
        accounts = {walk.campaign.account_id for walk in self._shard.walks.values()}
        accounts |= {walk.campaign.account_id for walk in self._shard.ended}
        if not (accounts or is_sweep):
            return 0
        now = self._runtime.clock.now()
        async with self._runtime.db.begin() as conn:
            told = await usage.tell(conn, None if is_sweep else accounts, day_of(now - timedelta(days=_DAYS_BACK)), now)
        if is_sweep:
            self._swept_at = boottime()
        return told
