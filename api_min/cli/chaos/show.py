"""The report for people."""

from rich.console import Console
from rich.table import Table

from api_min.cli.chaos.findings import RECOVERY_GOAL_S, Findings

_MOST = 20


def show(console: Console, found: Findings) -> None:
    table = Table(title=f"chaos, seed {found.seed}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    for row in _rows(found):
        table.add_row(*row)
    console.print(table)
    if found.faults:
        console.print(
            "faults: " + ", ".join(f"{count} × {name}" for name, count in found.faults.items()), highlight=False
        )
    if found.errors:
        console.print("errors logged: " + ", ".join(f"{n} × {name}" for name, n in found.errors.items()))
    if found.soak:
        _show_soak(console, found)
    broken = found.broken()
    for problem in broken[:_MOST]:
        console.print(f"BROKEN  {problem}", style="red", highlight=False)
    if len(broken) > _MOST:
        console.print(f"        … and {len(broken) - _MOST} more", style="red")
    if not broken:
        console.print("every promise held", style="green")


def _rows(found: Findings) -> list[tuple[str, str, str]]:
    recovery = found.recovery
    unknown = ", ".join(f"{n} × {reason}" for reason, n in found.unknown.items())
    return [
        ("people", f"{found.prospects:,}", f"{found.rate:g} calls a second, {found.creates:,} creates"),
        ("faults", f"{sum(found.faults.values())}", f"in {found.seconds:.0f} s"),
        ("double contacts", f"{len(found.double_contacts)}", ""),
        ("lost people", f"{len(found.lost)}", "campaigns that do not add up"),
        ("doubtful attempts", f"{found.doubtful}", f"{found.resolved} of them resolved"),
        ("settled as unknown", f"{sum(found.unknown.values()) + len(found.unexplained)}", unknown),
        ("creates after a pause", f"{found.pause_violations}", f"{found.pauses} pauses"),
        ("  by a process that had been stopped", f"{found.frozen_creates}", "between its last check and its write"),
        ("  later than their ticket, likewise", f"{found.frozen_late}", ""),
        ("worst 10 s, achieved / configured", f"{found.worst_window:.0%}", "while people were left"),
        (
            "event gaps / repeats",
            f"{found.gaps} / {found.repeats}",
            f"{found.events:,} events to {found.listeners}",
        ),
        ("recovery p50 / p99", f"{recovery.p50_s:.2f} / {recovery.p99_s:.2f} s", f"goal: p99 ≤ {RECOVERY_GOAL_S:g} s"),
        ("  slowest", f"{recovery.slowest_s:.2f} s", recovery.slowest),
        ("drains", f"{found.drains}", f"the slowest took {found.slowest_drain_s:.1f} s"),
        ("answers of the API", _answers(found), "0: none"),
    ]


def _answers(found: Findings) -> str:
    return ", ".join(f"{n:,} × {status}" for status, n in found.api_answers.items())


def _show_soak(console: Console, found: Findings) -> None:
    table = Table(title="after warm-up", title_justify="left")
    for heading in ("", "level", "growth", "flat"):
        table.add_column(heading, justify="left" if not heading else "right")
    for each in found.soak:
        told = each.trend
        table.add_row(each.name, f"{told.level:.1f}", f"{told.growth:+.1f}", "yes" if told.is_flat else "[red]no")
    console.print(table)
    console.print(", ".join(f"{name} {value:,.0f}" for name, value in found.database.items()), highlight=False)
