"""The README says what the code does: settings, commands, targets, links and examples are compared with it."""

import re
from pathlib import Path

import orjson
import pytest
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from api_min.cli.main import COMMANDS
from api_min.did_schemas import PurchaseIn
from api_min.ownership_schemas import LineIn, TeamIn, UserIn
from api_min.schemas import CallIn, DidIn, KeyIn, PhonesIn
from api_min.sms_schemas import MessageIn, PreviewIn
from api_min.webhook_schemas import WebhookIn
from api_min.whom_schemas import ConsentIn, SuppressionIn
from engine.rules.campaign_config import parse_campaign
from engine.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")

BODIES: dict[str, type[BaseModel]] = {
    "prospects": PhonesIn,
    "voice": CallIn,
    "dids": DidIn,
    "keys": KeyIn,
    "teams": TeamIn,
    "users": UserIn,
    "lines": LineIn,
    "webhooks": WebhookIn,
    "sms": MessageIn,
    "preview": PreviewIn,
    "purchase": PurchaseIn,
    "suppression": SuppressionIn,
    "consents": ConsentIn,
}


def variable(name: str, field: FieldInfo) -> str:
    """The first name under which the environment is asked for it."""
    choices = getattr(field.validation_alias, "choices", None)
    return str(choices[0]) if choices else f"CARILLON_{name.upper()}"


def shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if default in (None, ""):
        return "–"
    return f"`{int(default) if isinstance(default, float) and default.is_integer() else default}`"


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (\S+) \| .+ \|$", README, re.MULTILINE)
    assert rows == [(variable(name, field), shown_default(field)) for name, field in Settings.model_fields.items()]


def test_commands_exist() -> None:
    named = set(re.findall(r"`carillon ([a-z]+)", README))
    assert {
        "api",
        "coordinator",
        "worker",
        "relay",
        "webhooks",
        "migrate",
        "key",
        "campaign",
        "check",
        "bench",
    } <= named
    assert named <= COMMANDS.keys()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", README, re.MULTILINE))
    assert {"demo", "test", "dev"} <= {first or second for first, second in named} <= targets


@pytest.mark.parametrize("text", [README, CHANGELOG], ids=["README", "CHANGELOG"])
def test_relative_links_lead_somewhere(text: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / target).exists(), target


def test_links_within_the_page_lead_to_a_heading() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-")
        for h in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= headings


def test_example_bodies_are_accepted() -> None:
    examples = re.findall(r"^api \$URL/api/(\S+)(?: -H \"[^\"]+\")* -d '(.+?)'$", README, re.MULTILINE | re.DOTALL)
    assert len(examples) >= 7
    for path, text in examples:
        kind, body = path.rpartition("/")[2], orjson.loads(text)
        if kind == "campaigns":
            parse_campaign(body)
        else:
            BODIES[kind].model_validate(body)


def test_the_changelog_has_the_version_of_the_package() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    assert "## [Unreleased]" in CHANGELOG
    assert version in CHANGELOG
