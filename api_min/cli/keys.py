"""`carillon key create`: the first key of an account, made on the machine that knows the database."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncConnection

from engine import ids
from engine.errors import NotFound
from engine.runtime import Runtime, running
from engine.settings import Settings
from engine.store import accounts, audit, keys

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def group() -> None:
    """API keys."""


@app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    account: Annotated[str, typer.Option(help="An account's id (acct_…), or the name of a new account.")],
    scope: Annotated[list[str], typer.Option(help=f"May be repeated: {' '.join(keys.SCOPES)}")] = ["*"],  # noqa: B006
    live: Annotated[bool, typer.Option("--live/--test", help="Live keys place real calls.")] = False,
    rate_limit: Annotated[int | None, typer.Option(min=1, help="Requests a minute; default: the setting.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="Default: never.")] = None,
) -> None:
    """Create a key and print it, this once, as the only line on stdout."""
    secret, text = asyncio.run(_create(name, account, scope, live, rate_limit, expires_in_days))
    Console(stderr=True).print(text)
    print(secret)


async def _create(
    name: str, account: str, scopes: list[str], live: bool, rate_limit: int | None, expires_in_days: int | None
) -> tuple[str, str]:
    settings = Settings()
    async with running(settings) as runtime, runtime.db.begin() as conn:
        account_id = await _account(conn, runtime, account)
        rate_limit = rate_limit or settings.key_rate_limit
        key, secret = await keys.create_key(conn, account_id, name, scopes, rate_limit, expires_in_days, live)
        await audit.record(conn, account_id, audit.OPERATOR, "key.create", key.actor, runtime.clock.now())
    owner = ids.encode("acct", account_id)
    return secret, f"{'Live' if live else 'Test'} key {key.actor} of {owner} ({escape(', '.join(key.scopes))})"


async def _account(conn: AsyncConnection, runtime: Runtime, account: str) -> int:
    """Raises NotFound for the id of no account."""
    if not account.startswith("acct_"):
        return (await accounts.create(conn, account, runtime.clock.now())).id
    number = ids.decode("acct", account)
    if number is None or await accounts.get(conn, number) is None:
        raise NotFound(f"there is no account {account}; give the name of a new one, or leave out its prefix")
    return number
