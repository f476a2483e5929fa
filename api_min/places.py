"""Places for imports: each holds a database connection until its file ends, so there are few, and no account may take
them all from the others."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

MOST = 4
MOST_PER_ACCOUNT = 2


class Places:
    """`async with places.take(account_id)` waits for one of the account's, then for one of all."""

    def __init__(self, most: int = MOST, most_per_account: int = MOST_PER_ACCOUNT) -> None:
        self._all = asyncio.Semaphore(most)
        self._own: defaultdict[int, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(most_per_account))
        self._users: defaultdict[int, int] = defaultdict(int)  # of an account's: waiting or in

    @asynccontextmanager
    async def take(self, account_id: int) -> AsyncIterator[None]:
        self._users[account_id] += 1
        try:
            async with self._own[account_id], self._all:
                yield
        finally:
            self._users[account_id] -= 1
            if not self._users[account_id]:
                del self._users[account_id], self._own[account_id]
