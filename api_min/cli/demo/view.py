"""How the demo shows itself: bars and an event ticker on a terminal, plain lines elsewhere."""

import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from api_min.cli.demo.client import ServerEvent

PLAIN_EVERY_S = 5.0
_TICKER_LINES = 8
_QUIET = frozenset({"campaign.stats.updated"})
# field of the stats → (what it is called here, colour)
OUTCOMES = {
    "humanConnected": ("talked to an agent", "green"),
    "voicemail": ("voicemail left", "cyan"),
    "delivered": ("text delivered", "green"),
    "noAnswer": ("no answer", "yellow"),
    "busy": ("busy", "yellow"),
    "failed": ("failed", "red"),
    "abandoned": ("abandoned", "red"),
    "unknown": ("unknown", "magenta"),
    "suppressed": ("opted out, not contacted", "blue"),
}


class Progressing(Protocol):
    """A campaign as the view needs it: `stats` is the API's object, empty before the first answer."""

    name: str
    channel: str
    status: str
    stats: dict[str, int]


class View(Protocol):
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, line: str) -> None:
        """One line that stays."""

    def show_event(self, event: ServerEvent) -> None: ...

    def show_progress(self, campaigns: Sequence[Progressing], seconds: float, events: int) -> None: ...


def open_view(console: Console) -> View:
    return LiveView(console) if console.is_terminal else PlainView(console)


class PlainView:
    """A line every `PLAIN_EVERY_S`, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show_event(self, event: ServerEvent) -> None:  # noqa: ARG002 - the protocol's signature
        return

    def show_progress(self, campaigns: Sequence[Progressing], seconds: float, events: int) -> None:
        is_over = all(campaign.status == "completed" for campaign in campaigns)
        if time.monotonic() - self._shown_at < PLAIN_EVERY_S and not is_over:
            return
        self._shown_at = time.monotonic()
        parts = [f"{each.channel} {each.status} {_done(each):,}/{each.stats['total']:,}" for each in campaigns]
        self.say(f"{seconds:5.1f} s  {'; '.join(parts)}; {events:,} events")


class LiveView:
    """Redrawn in place, four times a second."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ticker: deque[str] = deque(maxlen=_TICKER_LINES)
        self._rates = Rates()
        self._drawn: Group = Group()
        self._live = Live(console=console, refresh_per_second=4, get_renderable=lambda: self._drawn, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        self._console.print(escape(line), highlight=False)

    def show_event(self, event: ServerEvent) -> None:
        if event.type not in _QUIET:
            self._ticker.append(ticker_line(event))

    def show_progress(self, campaigns: Sequence[Progressing], seconds: float, events: int) -> None:
        panels = [_panel(each, self._rates.of(each.name, _done(each), seconds)) for each in campaigns]
        title = f"{events:,} events, {self._rates.of('events', events, seconds):,.0f} a second"
        ticker = Panel(Text("\n".join(self._ticker), no_wrap=True), title=title, height=_TICKER_LINES + 2)
        self._drawn = Group(*panels, ticker)


class Rates:
    """Growth per second of named counts, over the last `SPAN_S`."""

    SPAN_S = 3.0

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def of(self, name: str, count: int, seconds: float) -> float:
        """Notes that `name` stands at `count` after `seconds`, and answers its rate."""
        seen = self._seen.setdefault(name, deque())
        seen.append((seconds, count))
        while len(seen) > 2 and seconds - seen[0][0] > self.SPAN_S:
            seen.popleft()
        (began, before), passed = seen[0], seconds - seen[0][0]
        return (count - before) / passed if passed > 0 and began < seconds else 0.0


def ticker_line(event: ServerEvent) -> str:
    payload = event.payload
    subject = payload.get("to") or payload.get("phone") or payload.get("campaignId") or ""
    details = [str(payload[name]) for name in ("amd", "outcome", "reason") if payload.get(name)]
    return f"{event.id:>7}  {event.type:<31} {subject}  {' '.join(details)}"


def outcome_table(campaign: Progressing, width: int = 40) -> Table:
    """One bar per outcome that occurred."""
    table = Table.grid(padding=(0, 2))
    total = max(campaign.stats["total"], 1)
    for name, (label, colour) in OUTCOMES.items():
        if count := campaign.stats.get(name, 0):
            bar = ProgressBar(total=total, completed=count, width=width, complete_style=colour, finished_style=colour)
            table.add_row(label, bar, f"{count:,}")
    return table


def _panel(campaign: Progressing, rate: float) -> Panel:
    stats = campaign.stats
    active = stats["dialing"] + stats["sending"] + stats["sent"]
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(stats["total"], 1), completed=_done(campaign), width=40)
    head.add_row(
        "done", bar, f"{_done(campaign):,} of {stats['total']:,}", f"{active:,} under way, {rate:,.0f} a second"
    )
    return Panel(Group(head, outcome_table(campaign)), title=f"{campaign.name} ({campaign.channel}): {campaign.status}")


def _done(campaign: Progressing) -> int:
    return campaign.stats["completed"] + campaign.stats["cancelled"]
