"""`bench dispatch`: from the claim to the acknowledgement, against stock Dramatiq's empty actor.

A prospect's way is claimed, enqueued, its intent decided by every rule and committed, its send slot waited for, its
call placed at an in-process carrier that ends it at once, outcome and events written, the message acknowledged, the
events numbered by the relay.
"""

from collections.abc import Callable
from pathlib import Path

from engine.embedded.servers import Servers
from workers.bench import campaigns, contacts, rival
from workers.bench.contacts import Plan
from workers.bench.databases import Databases
from workers.bench.engine_side import Engine
from workers.bench.figures import Figure, Goal, Result, Sample, alternate

MANY = 100  # campaigns
MOST_WORKER_MB = 150.0
ONE, HUNDRED, STOCK, STOCK_SENDING = "1 campaign", f"{MANY} campaigns", "dramatiq", "dramatiq with its enqueue"


def run(
    servers: Servers,
    size: int,
    rounds: int,
    tell: Callable[[str], None],
    *,
    suppressions: int = 0,
    registry: int = 0,
) -> Result:
    """`suppressions`, `registry`: numbers on these lists, which each call is looked up in."""

    def plan(*sizes: int) -> Plan:
        return Plan(sizes, suppressions=suppressions, registry=registry)

    with Databases(servers) as databases:
        lines = alternate(
            {
                ONE: lambda: measure(servers, databases, plan(size)),
                STOCK: lambda: rival.consume(servers, size),
                HUNDRED: lambda: measure(servers, databases, plan(*(max(1, size // MANY),) * MANY)),
                STOCK_SENDING: lambda: rival.send_and_consume(servers, size),
            },
            rounds,
            tell,
        )
    one, stock, hundred, sending = lines
    figures: dict[str, Figure] = {
        "ratio": one.rate / stock.rate,
        "ratio_100_campaigns": hundred.rate / stock.rate,
        "ratio_with_enqueue": one.rate / sending.rate,
        "worker_mb": max(sample.extra["worker_mb"] for line in (one, hundred) for sample in line.samples),
    }
    goals = [Goal("ratio", 1.0), Goal("ratio_100_campaigns", 1.0), Goal("worker_mb", MOST_WORKER_MB, is_most=True)]
    return Result("dispatch", "prospect or message", lines, figures, goals)


def measure(servers: Servers, databases: Databases, plan: Plan, profiles: Path | None = None) -> Sample:
    """One round of ours on a fresh database; raises as `campaigns.run`."""
    template = f"{len(plan.sizes)} campaigns"
    with databases.fresh(template, lambda url: contacts.fill(url, plan)) as url:
        campaigns.set_clock(url)
        with Engine(servers, url, campaigns.UNLIMITED, profiles) as engine:
            engine.start()
            return campaigns.run(servers, url, engine, plan)
