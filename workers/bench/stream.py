"""`bench stream`: fan-out, replay and resuming of event streams, beside nchan where it is installed.

The fan-out itself is measured with events that go straight into the account's Redis stream; replay, resuming and the
end-to-end figure with events that are committed, numbered by the relay and read by the api.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from engine.embedded.servers import Servers
from engine.processes.stack import HOST
from workers.bench import stream_rival
from workers.bench.databases import Databases
from workers.bench.figures import Figure, Goal, Result, Sample, alternate
from workers.bench.stream_commits import Commits, commit
from workers.bench.stream_load import Plan
from workers.bench.stream_stage import Run, Stage, stage

RATE, PACED_EVENTS = 10.0, 150
LOCKSTEP_EVENTS = 60
READERS, DEAD, DEAD_EVENTS = 100, 20, 40_000
REPLAYS, REPLAYED = 1_000, 1_000
RESUMES, RESUME_RATE, RESUME_EVERY_S = 400, 1_300.0, 0.02
WATCHERS, COMMIT_RATE, COMMITTED, PER_COMMIT = 100, 1_000.0, 10_000, 5

GOALS = (
    Goal("paced_p99_ms", 40.0, is_most=True),
    Goal("of_nchan", 1.0),
    Goal("rss_per_connection_kb", 12.0, is_most=True),
    Goal("healthy_beside_dead", 0.95),
    Goal("rss_grown_beside_dead_mb", 15.0, is_most=True),
    Goal("replay_s", 0.6, is_most=True),
    Goal("resumes_missing", 0, is_most=True),
    Goal("resumes_repeated", 0, is_most=True),
    Goal("commit_to_client_p50_ms", 25.0, is_most=True),
    Goal("commit_to_client_p99_ms", 100.0, is_most=True),
)

Tell = Callable[[str], None]


def run(servers: Servers, size: int, rounds: int, tell: Tell) -> Result:
    """`size` is the number of subscribers; the other scenarios shrink with it when it is below the usual 5,000."""
    share = min(1.0, size / 5_000)
    with Databases(servers) as databases, databases.fresh() as url, stage(servers, url) as held, _nchan(held) as rival:
        events = max(20, int(PACED_EVENTS * share))
        paced = held.run(held.plan(next(held.accounts), clients=size, events=events, rate=RATE, is_timed=True))
        _tell(tell, f"{size:,} subscribers, {RATE:g} events/s", paced)
        sides = {
            "carillon": lambda: _lockstep(held, held.plan(next(held.accounts), clients=size, events=LOCKSTEP_EVENTS))
        }
        beside: dict[str, Figure] = {}
        if rival is not None:
            plan, pid = rival
            sides["nchan"] = lambda: _lockstep(held, plan(size), pid)
            same = held.run(replace(plan(size), events=events, rate=RATE, is_timed=True), pid)
            _tell(tell, "the same, nchan", same)
            beside["nchan_paced_p99_ms"] = same.found.p99_ms
        lines = alternate(sides, rounds, tell)
        figures: dict[str, Figure] = {
            "paced_p50_ms": paced.found.p50_ms,
            "paced_p99_ms": paced.found.p99_ms,
            "paced_missing": paced.found.missing,
            **beside,
            "rss_per_connection_kb": paced.rss_per_client_kb,
            "load_us_per_delivery": lines[0].extra()["load_us"],
            "of_nchan": lines[0].rate / lines[1].rate if rival is not None else "not installed",
            **_dead(held, int(DEAD_EVENTS * share), rounds, tell),
            **_replay(held, max(10, int(REPLAYS * share)), rounds, tell),
            **_resume(held, max(10, int(RESUMES * share)), tell),
            **_end_to_end(held, int(COMMITTED * share), tell),
        }
    goals = [goal for goal in GOALS if not isinstance(figures[goal.figure], str)]
    return Result("stream", "delivery", lines, figures, goals)


def _in_lockstep(held: Stage, size: int) -> Plan:
    return held.plan(next(held.accounts), clients=size, events=LOCKSTEP_EVENTS)


def _lockstep(held: Stage, plan: Plan, pid: int = 0) -> Sample:
    """The next event is published when the last subscriber has the one before: nothing can be written together."""
    done = held.run(plan, pid)
    return Sample(
        done.found.deliveries,
        done.found.seconds,
        {"server": done.server_cpu_s},
        {"load_us": done.found.cpu_us, "missing": done.found.missing},
    )


def _dead(held: Stage, events: int, rounds: int, tell: Tell) -> Mapping[str, Figure]:
    """What the healthy get of a flood, alone and beside those that never read."""
    healthy, grown = READERS - DEAD, 0.0

    def flood(dead: int) -> Sample:
        nonlocal grown
        plan = held.plan(next(held.accounts), clients=healthy, events=events, dead=dead, window=500, burst=5)
        done = held.run(plan)
        grown = max(grown, done.grown_mb if dead else 0.0)
        return Sample(done.found.deliveries, done.found.seconds)

    alone, beside = alternate(
        {f"{healthy} readers": lambda: flood(0), f"{healthy} readers beside {DEAD} dead": lambda: flood(DEAD)},
        min(rounds, 3),
        tell,
    )
    return {"healthy_beside_dead": beside.rate / alone.rate, "rss_grown_beside_dead_mb": grown}


def _replay(held: Stage, clients: int, rounds: int, tell: Tell) -> Mapping[str, Figure]:
    """From the first connection to the last event of the last client; the best of the rounds."""
    account = next(held.accounts)
    commit(held.url, account.id, REPLAYED)
    warm = held.plan(account, clients=1, events=REPLAYED, after=0, redis="", begins_connected=False)
    cold = held.run(warm)
    plan = held.plan(account, clients=clients, events=REPLAYED, after=0, redis="", begins_connected=False)
    found = [held.run(plan) for _ in range(rounds)]
    for done in [cold, *found]:
        _tell(tell, "replay", done)
    best = min(found, key=lambda done: (done.found.missing, done.found.seconds))
    return {"replay_s": best.found.seconds, "replay_missing": best.found.missing}


def _resume(held: Stage, resumes: int, tell: Tell) -> Mapping[str, Figure]:
    account = next(held.accounts)
    seconds = resumes * RESUME_EVERY_S + 5.0
    with (
        held.resume(account, resumes, RESUME_EVERY_S) as begin,
        Commits(held.url, account.id, int(RESUME_RATE * seconds), RESUME_RATE, 13),
    ):
        found = begin()
    tell(f"resumes: {found}")
    return {
        "resumes": found["resumes"],
        "resumes_missing": found["missing"],
        "resumes_repeated": found["repeated"],
        "resumes_truncated": found["truncated"],
    }


def _end_to_end(held: Stage, events: int, tell: Tell) -> Mapping[str, Figure]:
    """From before the commit of a transaction, so with it, to the client."""
    account = next(held.accounts)
    plan = held.plan(account, clients=WATCHERS, events=events, redis="", is_timed=True)
    done = held.run(plan, during=Commits(held.url, account.id, events, COMMIT_RATE, PER_COMMIT))
    _tell(tell, "end to end", done)
    return {
        "commit_to_client_p50_ms": done.found.p50_ms,
        "commit_to_client_p99_ms": done.found.p99_ms,
        "commit_to_client_missing": done.found.missing,
    }


def _tell(tell: Tell, name: str, done: Run) -> None:
    tell(
        f"{name}: {done.rate:,.0f} deliveries/s, p50 {done.found.p50_ms:.1f} ms, p99 {done.found.p99_ms:.1f} ms,"
        f" {done.found.missing} missing, {done.found.ended} cut, {done.found.seconds:.2f} s"
    )


@contextmanager
def _nchan(held: Stage) -> Iterator[tuple[Callable[[int], Plan], int] | None]:
    """How to load nchan and the pid of its worker; None where it is not installed."""
    module = stream_rival.module()
    if module is None:
        yield None
        return
    head = f"GET {stream_rival.SUBSCRIBE} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
    with (
        tempfile.TemporaryDirectory(prefix="carillon-nchan-") as folder,
        stream_rival.nchan(module, Path(folder) / "nginx", held.cpus[0]) as (port, pid),
    ):

        def plan(size: int) -> Plan:
            return Plan(held.cpus[1], HOST, port, head, size, LOCKSTEP_EVENTS, path=stream_rival.PUBLISH)

        yield plan, pid
