"""`carillon rules check`: a file of an operator's rows for contact hours, judged before any process reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import InvalidInput
from engine.rules.states import Row, parse_rows, rules

app = typer.Typer(pretty_exceptions_enable=False)
app.callback()(lambda: None)  # keeps `check` a sub-command while it is the only one


@app.command()
def check(file: Annotated[Path, typer.Argument(help="A CSV file, as CARILLON_RULES_FILE names it.")]) -> None:
    """Read FILE and say what its rows open and narrow; exit code 1 and the faulty lines when it cannot be used."""
    print("\n".join(describe(parse_rows(_read(file)))))


def describe(rows: Sequence[Row]) -> list[str]:
    """What these rows would do, line by line."""
    known = rules().rows
    lines = [f"{len(rows)} rows, all good"]
    for region in sorted({row.region for row in rows}):
        count = sum(row.region == region for row in rows)
        is_new = len(region) == 2 and region not in known
        lines.append(f"{region}: {'opened' if is_new else 'narrowed'} by {count} row{'s' if count > 1 else ''}")
    return lines


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8; export it as CSV UTF-8") from error
