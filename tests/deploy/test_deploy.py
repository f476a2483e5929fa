"""What is deployed fits the code: commands, settings, metrics and deadlines are the ones that exist."""

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from prometheus_client import Counter, Gauge, Histogram

from api_min import serve
from api_min.cli import dnc
from api_min.cli.main import COMMANDS
from engine import metrics
from engine.dispatch import settling
from engine.rules.registry import code_of
from engine.settings import Settings
from engine.webhooks import record
from tests.deploy.test_readme import variable
from tests.outside.test_document import DOCUMENT

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
ALERTS = (PROMETHEUS / "alerts.yml").read_text("utf-8")
COMPOSE = (DEPLOY / "compose.yaml").read_text("utf-8")
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SETTINGS = {variable(name, field) for name, field in Settings.model_fields.items()}
LONG_RUNNING = {"api", "coordinator", "worker", "relay", "webhooks"}


def setting(name: str) -> float:
    return float(Settings.model_fields[name].default)


# A worker's drain: ticket, the carrier's answer, and PostgreSQL away for as long as settling keeps trying.
DRAIN_S = {
    "worker": setting("ticket_s") + setting("carrier_timeout_s") + sum(settling.RETRIES_S),
    "api": serve.DRAIN_S,
    # A request whose connection broke is made once more.
    "webhooks": 2 * setting("webhook_timeout_s") + sum(record.RETRIES_S),
}


def read_unit(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(path)
    return unit


def command_of(unit: configparser.ConfigParser) -> str:
    return unit["Service"]["ExecStart"].split()[-1]


def registered() -> dict[str, frozenset[str]]:
    """Name of every series that we export → its labels."""
    series = {}
    for metric in vars(metrics).values():
        if not isinstance(metric, Counter | Gauge | Histogram):
            continue
        (family,) = metric.describe()
        endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[family.type]
        for ending in endings:
            labels = frozenset(metric._labelnames) | ({"le"} if ending == "_bucket" else frozenset())
            series[family.name + ending] = labels
    return series


def test_alerts_name_metrics_and_labels_that_exist() -> None:
    series = registered()
    named = re.findall(r"\b(carillon_[a-z_]+)(?:\{([^}]*)\})?", ALERTS)
    assert len(named) > 10
    for name, selectors in named:
        assert name in series, name
        labels = set(re.findall(r"([a-z_]+)(?:=~|!~|!=|=)", selectors))
        assert labels <= series[name] | {"job", "instance"}, (name, labels)


def test_alerts_group_by_labels_that_exist() -> None:
    known = frozenset().union(*registered().values()) | {"job", "instance"}
    for labels in re.findall(r"\bby \(([^)]+)\)", ALERTS):
        assert {label.strip() for label in labels.split(",")} <= known


def test_every_alert_says_what_is_wrong() -> None:
    names = re.findall(r"- alert: (\w+)", ALERTS)
    assert len(names) == len(set(names)) > 10
    assert all(ALERTS.count(word) == len(names) for word in ("expr:", "severity:", "summary:"))


def alert(name: str) -> str:
    """The text of one alert."""
    return ALERTS.partition(f"- alert: {name}\n")[2].partition("- alert:")[0]


def test_what_is_slow_by_design_is_no_alert() -> None:
    """Only these: they wait for a carrier, a client's endpoint, a file, creates under way, or look far ahead."""
    (pattern,) = re.findall(r'route!~"([^"]+)"', alert("CarillonApiSlow"))
    routes = {path.removeprefix("/api") for path in DOCUMENT["paths"]}  # the label's form
    assert {route for route in routes if re.fullmatch(pattern, route)} == {
        "/campaigns/{campaign_id}/prospects/import",
        "/campaigns/{campaign_id}/pause",
        "/campaigns/{campaign_id}/cancel",
        "/campaigns/{campaign_id}/forecast",
        "/dids/search",
        "/dids/purchase",
        "/dids/{number}",
        "/reputation/{number}",
        "/webhooks/{webhook_id}/test",
    }


def test_streams_that_end_as_planned_are_no_alert() -> None:
    (pattern,) = re.findall(r'reason!~"([^"]+)"', alert("CarillonStreamsCut"))
    assert set(pattern.split("|")) == {"shutdown", "lifetime"}


def test_events_given_up_without_a_request_are_an_alert_too() -> None:
    assert "increase(carillon_webhook_given_up_total[1h])" in alert("CarillonWebhooksGivenUp")


def test_the_alert_of_an_old_registry_names_a_command_that_exists() -> None:
    (names,) = re.findall(r"carillon dnc load FILE --registry (\S+) --as-of DATE", alert("CarillonRegistryAges"))
    assert [code_of(name) for name in names.split("|")] == ["US", "US-PA"]
    load = typer.main.get_group(dnc.app).commands["load"]
    assert {"--registry", "--as-of"} <= {option for parameter in load.params for option in parameter.opts}


def test_scrape_jobs_are_the_processes_that_the_alerts_watch() -> None:
    jobs = set(re.findall(r"job_name: (\S+)", (PROMETHEUS / "prometheus.yml").read_text("utf-8")))
    assert jobs == {f"carillon-{name}" for name in LONG_RUNNING}
    assert set(re.findall(r'job="([^"]+)"', ALERTS)) <= jobs


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("check", [("config", "prometheus.yml"), ("rules", "alerts.yml")], ids=["config", "rules"])
def test_promtool_accepts(check: tuple[str, str]) -> None:
    done = subprocess.run(
        ["promtool", "check", check[0], str(PROMETHEUS / check[1])],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_simulated_carrier_is_asked_for_its_health_at_its_own_port() -> None:
    carrier = COMPOSE.partition("\n  carrier:\n")[2].partition("\n\n")[0]
    assert "--port=8100" in carrier
    assert "http://127.0.0.1:8100/healthz" in carrier


def test_compose_runs_every_process_and_the_migration() -> None:
    assert set(re.findall(r"^    command: \[([a-z]+)\]$", COMPOSE, re.MULTILINE)) == LONG_RUNNING | {"migrate"}


@pytest.mark.parametrize("name", ["compose.yaml", "Dockerfile", "systemd/carillon.env.example"])
def test_variables_are_settings(name: str) -> None:
    named = set(re.findall(r"\b(CARILLON_[A-Z_]+|DATABASE_URL|REDIS_[A-Z_]*URL)\b", (DEPLOY / name).read_text("utf-8")))
    assert named
    assert named - {"CARILLON_PUBLISH"} <= SETTINGS  # compose's own: the address that the API is published at


def test_compose_waits_for_a_drain() -> None:
    for name, drain_s in DRAIN_S.items():
        (block,) = re.findall(rf"^  {name}:\n((?:    .*\n)+)", COMPOSE, re.MULTILINE)
        (grace_s,) = re.findall(r"stop_grace_period: (\d+)s", block)
        assert float(grace_s) > drain_s


def test_postgres_gets_the_settings_that_processes_insist_on() -> None:
    for wanted in ("max_locks_per_transaction=512", "synchronous_commit=on", "fsync=on"):
        assert f"-c{wanted}" in COMPOSE


def test_there_is_a_unit_for_every_process() -> None:
    assert {command_of(read_unit(path)) for path in UNITS} == LONG_RUNNING <= COMMANDS.keys()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_restart_and_wait_for_a_drain(path: Path) -> None:
    unit = read_unit(path)
    service = unit["Service"]
    assert (service["Restart"], service["KillSignal"], service["NoNewPrivileges"]) == ("always", "SIGTERM", "yes")
    assert float(service["TimeoutStopSec"]) > DRAIN_S.get(command_of(unit), 1.0)
    assert service["Environment"].partition("=")[0] in SETTINGS


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    copies = []
    for path in UNITS:
        copy = tmp_path / path.name.replace("@", "@1")
        text = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", path.read_text("utf-8"), flags=re.MULTILINE)
        copy.write_text(re.sub(r"^EnvironmentFile=.*\n", "", text, flags=re.MULTILINE))
        copies.append(str(copy))
    done = subprocess.run(
        ["systemd-analyze", "verify", *copies], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line]


def test_procfile_names_commands() -> None:
    processes = dict(re.findall(r"^(\w+): carillon (\w+)$", (ROOT / "Procfile").read_text("utf-8"), re.MULTILINE))
    assert processes == {"release": "migrate"} | {name: name for name in LONG_RUNNING}
