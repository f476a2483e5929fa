"""The `carillon` command: one table of sub-commands, each imported only when it is called."""

import importlib
import importlib.util
import os
import runpy
import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from engine.errors import CarillonError, Misconfigured

# name → (target, help). A target with a colon is a `typer.Typer`; one without is a process, which takes no arguments:
# it is run as `python -m target` would, in this process. To add a command is to add a line.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("api_min.cli.demo:app", "Run the main job on real-looking input and check the promises."),
    "dev": ("api_min.cli.dev:app", "Everything in one terminal, on embedded servers."),
    "api": ("api_min.serve", "Serve the HTTP API."),
    "coordinator": ("workers.coordinator", "Claim due prospects and keep the queues filled."),
    "worker": ("workers.worker", "Carry out the queued work; the only process that calls a carrier."),
    "relay": ("workers.relay", "Put events in order and pass them on."),
    "webhooks": ("workers.webhooks", "Deliver events to the endpoints that clients named."),
    "migrate": ("api_min.cli.migrate:app", "Bring the database to the newest schema."),
    "key": ("api_min.cli.keys:app", "Create API keys."),
    "campaign": ("api_min.cli.campaign:app", "Import a CSV file into a campaign."),
    "suppression": ("api_min.cli.suppression:app", "Import a CSV file onto the suppression list."),
    "dnc": ("api_min.cli.dnc:app", "Load and list copies of do-not-call registries."),
    "check": ("api_min.cli.check:app", "Check the promises against a live database."),
    "explain": ("api_min.cli.explain:app", "Say whether and why somebody would be contacted now."),
    "forecast": ("api_min.cli.forecast:app", "Say when a campaign will end and what holds it back."),
    "rules": ("api_min.cli.rules:app", "Check a file of rows for the law's contact hours."),
    "sim": ("api_min.cli.sim:app", "Have a person text or call you, on the simulated network."),
    "simulate": ("api_min.cli.simulate:app", "Simulate histories full of faults; every promise must hold."),
    "bench": ("workers.bench.cli:app", "Measure."),
    "chaos": ("api_min.cli.chaos:app", "Break a whole stack under load, and check the promises."),
}

_ARGUMENTS_ARE_THE_TARGETS: dict[str, Any] = {
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "ignore_unknown_options": True,
    "help_option_names": [],
}
# Refused here by name: a process would never see them, and serve where nobody expects it.
_ARGUMENTS_ARE_WRONG: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
_OF_A_PROCESS = (
    "Runs until SIGTERM. It takes no arguments: environment variables configure it, see Settings in README.md."
)


def build(commands: Mapping[str, tuple[str, str]] = COMMANDS) -> typer.Typer:
    """The command tree; `carillon --help` imports nothing of what it lists."""
    app = typer.Typer(
        help="Carillon: campaigns of voice and SMS, nobody lost, nobody called twice.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # keeps `app` a group even with one command
    for name, (target, help_text) in commands.items():
        command = app.command(
            name,
            help=f"{help_text}\n\n{_OF_A_PROCESS}" if _is_process(target) else help_text,
            short_help=help_text,
            context_settings=_ARGUMENTS_ARE_WRONG if _is_process(target) else _ARGUMENTS_ARE_THE_TARGETS,
        )
        command(_runner(name, target))
    return app


def main() -> None:
    """Entry point of the console script. An error of ours is one red line that says the remedy, and exit code 1."""
    try:
        build()(prog_name="carillon")
    except CarillonError as error:
        _fail(error.message)
    except ModuleNotFoundError as error:
        _fail(f"Python module {error.name} is missing: install Carillon again (make venv)")
    except ValueError as error:
        if getattr(error, "title", "") != "Settings":
            raise
        _fail(f"Set the environment right. {_wrong_settings(error)}")


def _runner(name: str, target: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        if _is_process(target) and context.args:
            context.fail(f"not understood: {' '.join(context.args)}. Environment variables configure this command")
        _run(name, target, context.args)

    return run


def _is_process(target: str) -> bool:
    return ":" not in target


def _run(name: str, target: str, arguments: list[str]) -> None:
    module, _, attribute = target.partition(":")
    if not _exists(module):
        raise Misconfigured(f"`carillon {name}` is not part of this installation: it has no module {module}")
    if attribute:
        getattr(importlib.import_module(module), attribute)(args=arguments, prog_name=f"carillon {name}")
    else:
        sys.argv[1:] = []
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _wrong_settings(error: Any) -> str:
    """A pydantic error of `engine.settings`, in one line; pydantic itself is not imported here, to start fast."""
    return "; ".join(f"{_variable('.'.join(map(str, wrong['loc'])))}: {wrong['msg']}" for wrong in error.errors())


def _variable(field: str) -> str:
    """The environment's name of a setting; those of every platform are named so already."""
    return field if field.isupper() else f"CARILLON_{field.upper()}"


def _fail(message: str) -> None:
    line = " ".join(message.split())
    is_coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[31m{line}\x1b[0m" if is_coloured else line, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    main()
