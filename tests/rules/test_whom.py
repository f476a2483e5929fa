"""May this person be contacted at all: the order of the rules, what exempts from them, and the account's setting."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from engine.errors import InvalidInput
from engine.rules.attempt_caps import DEFAULT_CAP, Cap
from engine.rules.compliance import USUAL, Compliance, parse_compliance
from engine.rules.consent import Consent
from engine.rules.purpose import Purpose
from engine.rules.relationship import Relationship
from engine.rules.whereabouts import whereabouts
from engine.rules.whom import Bar, Barred, Kind, Person, allowed_by, barred, counts, wants
from engine.rules.window import use_rows

NOW = datetime(2026, 3, 11, 18, 0, tzinfo=UTC)
NEW_YORK, MAINE, PENNSYLVANIA = map(whereabouts, ("+12125550123", "+12075550123", "+12155550123"))
STRICT = Compliance(requires_registry=True, requires_consent=True)
CAMPAIGN = Kind("voice", Purpose.MARKETING, is_automated=True, is_one_off=False, compliance=STRICT)
LAX = replace(CAMPAIGN, compliance=USUAL)
LIVE = replace(CAMPAIGN, is_automated=False)
ONE_OFF = replace(CAMPAIGN, is_one_off=True)
FRESH = {"US": date(2026, 3, 1), "US-PA": date(2026, 3, 1)}
CUSTOMER = Relationship(purchase_at=NOW - timedelta(days=100))
WRITTEN = Person(consent=Consent.EXPRESS_WRITTEN)


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


THRICE = tuple(map(ago, (1, 2, 3)))


@pytest.mark.parametrize(
    ("kind", "person", "place", "copies", "expected"),
    [
        # the order: registry, consent, cap
        (CAMPAIGN, Person(listed=("US",), contacts=THRICE), NEW_YORK, FRESH, Barred(Bar.REGISTRY, "US")),
        (CAMPAIGN, Person(contacts=THRICE), NEW_YORK, FRESH, Barred(Bar.NO_CONSENT, "express_written")),
        (CAMPAIGN, WRITTEN._replace(contacts=THRICE), NEW_YORK, FRESH, Barred(Bar.ATTEMPT_CAP, "account", ago(-21))),
        (CAMPAIGN, WRITTEN, NEW_YORK, FRESH, None),
        # registries
        (CAMPAIGN, WRITTEN._replace(listed=("US",)), NEW_YORK, FRESH, None),
        (CAMPAIGN, Person(listed=("US",), consent=Consent.EXPRESS), NEW_YORK, FRESH, Barred(Bar.REGISTRY, "US")),
        (CAMPAIGN, WRITTEN, NEW_YORK, {}, Barred(Bar.REGISTRY_MISSING, "US")),
        (CAMPAIGN, WRITTEN, NEW_YORK, {"US": date(2026, 2, 1)}, Barred(Bar.REGISTRY_STALE, "US")),
        (CAMPAIGN, Person(listed=("US-PA",)), PENNSYLVANIA, FRESH, Barred(Bar.REGISTRY, "US-PA")),
        (CAMPAIGN, WRITTEN, PENNSYLVANIA, {"US": FRESH["US"]}, Barred(Bar.REGISTRY_MISSING, "US-PA")),
        (CAMPAIGN, WRITTEN._replace(listed=("US-PA",)), NEW_YORK, FRESH, None),  # another state's list
        (replace(CAMPAIGN, purpose=Purpose.INFORMATIONAL), Person(("US",), Consent.EXPRESS), NEW_YORK, {}, None),
        # a relationship opens the registry, and nothing else
        (LIVE, Person(("US",), relation=CUSTOMER), NEW_YORK, FRESH, None),
        (LIVE, Person(("US", "US-PA"), relation=CUSTOMER), PENNSYLVANIA, FRESH, None),
        (LIVE, Person(("US",), relation=CUSTOMER, ended_at=NOW), NEW_YORK, FRESH, Barred(Bar.REGISTRY, "US")),
        (LIVE, Person(("US",), relation=CUSTOMER), NEW_YORK, {}, Barred(Bar.REGISTRY_MISSING, "US")),
        (CAMPAIGN, Person(("US",), relation=CUSTOMER), NEW_YORK, FRESH, Barred(Bar.NO_CONSENT, "express_written")),
        # consent
        (replace(CAMPAIGN, is_automated=False), Person(), NEW_YORK, FRESH, None),
        (
            replace(CAMPAIGN, purpose=Purpose.INFORMATIONAL),
            Person(),
            NEW_YORK,
            {},
            Barred(Bar.NO_CONSENT, "express"),
        ),
        # caps
        (LAX, Person(contacts=THRICE[:2]), NEW_YORK, {}, None),
        (LAX, Person(contacts=THRICE), NEW_YORK, {}, Barred(Bar.ATTEMPT_CAP, "account", ago(-21))),
        (LAX, Person(contacts=(ago(1),)), MAINE, {}, Barred(Bar.ATTEMPT_CAP, "US-ME", ago(-7))),
        (replace(LAX, is_automated=False), Person(contacts=(ago(1),)), MAINE, {}, None),
        (
            replace(LAX, cap=Cap(1, 48 * 3600, "campaign")),
            Person(contacts=(ago(1),)),
            NEW_YORK,
            {},
            Barred(Bar.ATTEMPT_CAP, "campaign", ago(-47)),
        ),
        (replace(LAX, purpose=Purpose.INFORMATIONAL), Person(contacts=THRICE), NEW_YORK, {}, None),
        # replies
        (ONE_OFF, Person(("US",), contacts=THRICE, wrote_at=ago(23.9)), NEW_YORK, {}, None),
        (ONE_OFF, Person(wrote_at=ago(24)), NEW_YORK, FRESH, Barred(Bar.NO_CONSENT, "express_written")),
        (CAMPAIGN, Person(wrote_at=ago(1)), NEW_YORK, FRESH, Barred(Bar.NO_CONSENT, "express_written")),
    ],
)
def test_whom_a_rule_bars(kind: Kind, person: Person, place, copies, expected: Barred | None) -> None:  # type: ignore[no-untyped-def]
    assert barred(kind, person, place, copies, NOW) == expected


@pytest.mark.parametrize(
    ("kind", "person", "place", "expected"),
    [
        (LIVE, Person(), PENNSYLVANIA, ""),
        (LIVE, Person(("US-PA",)), NEW_YORK, ""),
        (LIVE, WRITTEN._replace(listed=("US", "US-PA")), PENNSYLVANIA, "US: consent, US-PA: consent"),
        (LIVE, Person(("US",), relation=CUSTOMER), NEW_YORK, "US: purchase 2025-12-01"),
        (ONE_OFF, Person(("US",), wrote_at=ago(1)), NEW_YORK, "reply"),
        (LAX, Person(("US",)), NEW_YORK, ""),
    ],
)
def test_what_a_contact_with_somebody_listed_rests_on(kind: Kind, person: Person, place, expected: str) -> None:  # type: ignore[no-untyped-def]
    assert allowed_by(kind, person, place, FRESH, NOW) == expected


def test_a_states_row_may_forbid_the_exemption_of_replies() -> None:
    person = Person(contacts=THRICE, wrote_at=ago(1))
    lax = replace(LAX, is_one_off=True)
    assert barred(lax, person, NEW_YORK, {}, NOW) is None
    assert not counts(lax, person, NEW_YORK, NOW)
    use_rows("region,mon_fri,sat,sun,flags\nUS-NY,08-21,08-21,08-21,no_reply_exemption\n")
    try:
        assert barred(lax, person, NEW_YORK, {}, NOW) == Barred(Bar.ATTEMPT_CAP, "account", ago(-21))
        assert counts(lax, person, NEW_YORK, NOW)
    finally:
        use_rows("")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (LAX, (False, False, True, False)),
        (CAMPAIGN, (True, True, True, False)),
        (ONE_OFF, (True, True, True, True)),
        (replace(LAX, purpose=Purpose.INFORMATIONAL), (False, False, False, False)),
        (replace(CAMPAIGN, purpose=Purpose.INFORMATIONAL), (False, True, False, False)),
        (replace(LAX, purpose=Purpose.EMERGENCY), (False, False, False, False)),
    ],
)
def test_only_what_a_rule_asks_for_is_looked_up(kind: Kind, expected: tuple[bool, ...]) -> None:
    assert tuple(wants(kind)) == expected


@pytest.mark.parametrize(
    ("setting", "is_real", "expected"),
    [
        (None, False, Compliance(False, False, DEFAULT_CAP)),
        (None, True, Compliance(True, True, DEFAULT_CAP)),
        ({"require_consent": False}, True, Compliance(True, False, DEFAULT_CAP)),
        ({"require_registry": True}, False, Compliance(True, False, DEFAULT_CAP)),
        ({"frequencyCap": {"max": 5, "per": "12h"}}, False, Compliance(cap=Cap(5, 43_200))),
    ],
)
def test_the_accounts_setting(setting: object, is_real: bool, expected: Compliance) -> None:
    assert parse_compliance(setting, is_real=is_real) == expected


@pytest.mark.parametrize(
    ("setting", "field"),
    [
        ({"require_registry": "no"}, "compliance.require_registry"),
        ({"requireConsent": True}, "compliance.requireConsent"),
        ({"frequencyCap": {"max": 0}}, "compliance.frequencyCap.max"),
        ([], "compliance"),
    ],
)
def test_a_wrong_setting_names_its_field(setting: object, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_compliance(setting, is_real=True)
    assert set(refused.value.fields) == {field}
