"""What the demo proves: the promises' own checkers over database and carrier log, and what is counted in the logs."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api_min.cli.check import render
from api_min.cli.demo.story import Told
from api_min.cli.demo.view import outcome_table
from api_min.cli.demo.world import World
from engine.checks.evidence import Evidence, read_creates
from engine.checks.report import Result, run_checks
from engine.store.database import connect

PROMISES = ("P1", "P2", "P4", "P5", "P6")


@dataclass(frozen=True, slots=True)
class Counted:
    """What the outside world saw, from its own logs."""

    creates: int
    accepted: int
    accepted_refs: int
    agent_sessions: int  # with a valid token
    audio_fetches: int  # answered 200
    callbacks: int


@dataclass(frozen=True, slots=True)
class Judgement:
    results: list[Result]
    counted: Counted
    complaints: list[str]  # what the demo itself expected to see and did not

    @property
    def is_good(self) -> bool:
        return not self.complaints and all(result.passed for result in self.results)


async def judge(world: World, told: Told) -> Judgement:
    """Runs the checkers. The relay and the stream get a moment to catch up with the last change."""
    engine = connect(world.servers.database_url, pool_size=1, statement_timeout_ms=0, idle_in_transaction_ms=0)
    try:
        creates = read_creates(world.network.carrier_log)
        results = await run_checks(Evidence(engine, world.clock, creates), PROMISES)
    finally:
        await engine.dispose()
    counted = await asyncio.to_thread(count, world)
    return Judgement(results, counted, [*_complaints(told, counted)])


def count(world: World) -> Counted:
    creates = read_creates(world.network.carrier_log)
    accepted = [create for create in creates if create.accepted]
    carrier = Counter(_kind(entry) for entry in _entries(world.network.carrier_log))
    agent = Counter(_kind(entry) for entry in _entries(world.network.agent_log))
    return Counted(
        creates=len(creates),
        accepted=len(accepted),
        accepted_refs=len({create.ref for create in accepted}),
        agent_sessions=agent["session_start verified"],
        audio_fetches=carrier["audio_fetch 200"],
        callbacks=carrier["callback"],
    )


def show(console: Console, told: Told, judgement: Judgement) -> None:
    """The final report."""
    for campaign in told.campaigns:
        stats = campaign.stats
        console.print(
            f"\n[bold]{escape(campaign.name)}[/bold] ({campaign.channel}, {campaign.status}):"
            f" {stats['total']:,} prospects, {stats['completed']:,} completed, {stats['cancelled']:,} cancelled",
            highlight=False,
            soft_wrap=True,
        )
        console.print(outcome_table(campaign))
    console.print(_figures(told, judgement.counted))
    for line in render(judgement.results):
        console.print(escape(line), style="red" if not line.startswith("PASS") else "", highlight=False, soft_wrap=True)
    for complaint in judgement.complaints:
        console.print(f"FAIL  {escape(complaint)}", style="red", highlight=False)
    if judgement.is_good:
        console.print(f"\nEvery promise held ({told.seconds:.0f} s of campaigns).", style="bold green")
    else:
        console.print("\nThe demo FAILED; with --logs FOLDER it keeps the evidence.", style="bold red")


def _figures(told: Told, counted: Counted) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("")
    table.add_row("creates that reached the carrier", f"{counted.creates:,}")
    table.add_row("accepted; different attempts", f"{counted.accepted:,}; {counted.accepted_refs:,}")
    table.add_row("callbacks delivered", f"{counted.callbacks:,}")
    table.add_row("agent sessions", f"{counted.agent_sessions:,}")
    table.add_row("voicemail recordings fetched", f"{counted.audio_fetches:,}")
    table.add_row("events on the stream", f"{len(told.event_ids):,}, gapless to {max(told.event_ids, default=0):,}")
    table.add_row("")
    return table


def _complaints(told: Told, counted: Counted) -> Iterator[str]:
    ids = told.event_ids
    if ids != list(range(1, len(ids) + 1)):
        yield f"the stream of {len(ids)} events had a gap or a repeat"
    if max(ids, default=0) < told.newest_event:
        yield f"the stream ended at event {max(ids, default=0)} of {told.newest_event}"
    voice = told.campaigns[0].stats
    if told.report["added"] != voice["total"]:
        yield f"{told.report['added']} prospects were imported, the campaign has {voice['total']}"
    if counted.agent_sessions < voice["humanConnected"]:
        yield f"{voice['humanConnected']} people were connected, the agent saw {counted.agent_sessions} sessions"
    if not counted.audio_fetches:
        yield "the carrier never fetched the voicemail recording"


def _entries(path: Path) -> Iterable[dict[str, Any]]:
    with path.open("rb") as lines:
        yield from (orjson.loads(line) for line in lines)


def _kind(entry: dict[str, Any]) -> str:
    match entry["type"]:
        case "audio_fetch":
            return f"audio_fetch {entry['status']}"
        case "session_start" if entry["verified"]:
            return "session_start verified"
        case kind:
            return str(kind)
