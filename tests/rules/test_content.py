"""The content scan: the references' own texts pass, and each rule finds its kind and little else."""

import pytest

from engine.errors import ContentRejected
from engine.rules import content, links
from engine.rules.content import Level, Policy, policy_of, raise_if_blocked, scan

ONE_OFF = Policy(is_one_off=True)
LIVE = Policy(is_live=True, brands=("Acme Dental",))

# What the public documents send, and what this project's README does.
SAMPLES = [
    "Your appointment is confirmed for tomorrow at 2pm.",
    "Hi, this is Trunx following up on your inquiry. Reply YES to schedule a call.",
    "Yes, I'll be there.",
    "Hi, a short follow-up on your inquiry. Reply YES to schedule a call.",
    "Your order is ready.",
    "Your code is 481516.",
    "Acme: thanks for subscribing! Reply HELP for help. Msg&data rates may apply. Reply STOP to opt out.",
]


def rules(text: str, policy: Policy = ONE_OFF) -> set[str]:
    return {finding.rule for finding in scan(text, policy).findings}


@pytest.mark.parametrize("text", SAMPLES)
@pytest.mark.parametrize("policy", [Policy(), ONE_OFF, Policy(is_live=True, is_one_off=True)])
def test_the_samples_pass(text: str, policy: Policy) -> None:
    assert scan(text, policy).verdict is not Level.BLOCK
    raise_if_blocked(scan(text, policy), "message")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("New vape flavours in store", "prohibited.tobacco"),
        ("Premium CBD oil, half price", "prohibited.cannabis"),
        ("C@nn4bis delivered", "prohibited.cannabis"),
        ("саsino night", "prohibited.gambling"),  # Cyrillic с and а
        ("ca\u200bsino night", "prohibited.gambling"),
        ("ｃａｓｉｎｏ night", "prohibited.gambling"),
        ("Get a payday-loan today", "prohibited.lending"),
        ("We buy houses!", "prohibited.leads"),
        ("Bitcoin airdrop", "prohibited.crypto"),
        ("See bit.ly/3xYz", "link.shortener"),
        ("See https://www.tinyurl.com/a.", "link.shortener"),
        ("Open http://192.168.1.7/pay", "link.disguised"),
        ("Open http://3232235777/pay", "link.disguised"),
        ("https://bank.com@evil.net/login", "link.disguised"),
        ("https://xn--pypal-4ve.com", "link.disguised"),
        ("https://раypal.com/", "link.disguised"),  # Cyrillic ра, Latin the rest
        ("ftp://files.acme.com/x", "link.disguised"),
        ("Verify your account immediately: https://acme.com/v", "phishing.credentials"),
        ("Reply 2 to stop", "optout.exclusive"),
        ("The only way to opt out is to call us", "optout.exclusive"),
        ("Hi {name}, hello", "placeholder.unfilled"),
        ("Hi [[first name]], hello", "placeholder.unfilled"),
        ("Hi %FirstName%, hello", "placeholder.unfilled"),
    ],
)
def test_what_is_blocked(text: str, rule: str) -> None:
    found = scan(text, ONE_OFF)
    assert rule in {finding.rule for finding in found.blocking}
    with pytest.raises(ContentRejected) as caught:
        raise_if_blocked(found, "message")
    assert (caught.value.status, caught.value.code) == (422, "content_rejected")
    assert rule in caught.value.fields["rules"]  # type: ignore[operator]
    assert caught.value.fields["rules_version"] == content.version()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Act now", "style.pressure"),
        ("Sale!!!", "style.pressure"),
        ("THIS WEEK ONLY BIG SALE", "style.pressure"),
        ("🎉🎉🎉 hello", "style.pressure"),
        ("See acme.com/a and acme.com/b", "link.many"),
        ("a" * 1_600, "parts.many"),
        ("It’s " + "a" * 150, "encoding.unicode"),
        ("Hello", "optout.missing"),
        ("Hello", "brand.unknown"),
    ],
)
def test_what_is_warned_of(text: str, rule: str) -> None:
    found = scan(text, ONE_OFF)
    assert rule in {finding.rule for finding in found.warnings}
    assert found.verdict is Level.WARN


@pytest.mark.parametrize(
    "text",
    [
        "Please bring your swimming gear to the winery road entrance",  # no whole word of a list
        "Meet at 5.30.Call me",
        "Version 2.0 is out. Thanks.Ann",
        "mail ann@example.com about it",
        "Log in at https://acme.com to see it. Reply STOP to opt out",
        "Ends Friday. Reply END to opt out, or STOP to opt out",
        "Text STOP to unsubscribe",
    ],
)
def test_what_only_looks_alike_passes(text: str) -> None:
    assert rules(text) <= {"brand.unknown", "optout.missing"}


def test_test_keys_are_only_warned_of_what_registration_asks() -> None:
    text = "a" * 1_600
    test = {finding.rule: finding.level for finding in scan(text, Policy(brands=("Acme",))).findings}
    live = {finding.rule: finding.level for finding in scan(text, LIVE).findings}
    for rule in ("brand.missing", "optout.missing", "parts.many"):
        assert (test[rule], live[rule]) == (Level.WARN, Level.BLOCK)
    assert scan("Acme Dental: see you at 2pm. Reply STOP to opt out", LIVE).findings == ()
    assert scan("ACME-DENTAL: reply stop to opt out", LIVE).verdict is Level.ALLOW


def test_an_account_sets_its_own_levels() -> None:
    given = {
        "rules": {"prohibited.alcohol": "allow", "style": "block", "link.foreign": "block", "link.many": "loud"},
        "domains": ["Acme.com"],
        "brands": ["Acme"],
    }
    policy = policy_of(given, is_live=False)
    assert rules("Acme wine club. Reply STOP to opt out", policy) == set()
    assert scan("Acme: act now. Reply STOP to opt out", policy).verdict is Level.BLOCK
    assert rules("Acme: shop.acme.com/x. Reply STOP to opt out", policy) == set()
    foreign = scan("Acme: see notacme.com/x. Reply STOP to opt out", policy)
    assert [(finding.rule, finding.level) for finding in foreign.findings] == [("link.foreign", Level.BLOCK)]
    assert policy.level("link.many") is Level.WARN  # a level that does not exist loosens nothing
    assert policy.level("prohibited.tobacco") is Level.BLOCK


@pytest.mark.parametrize(
    "settings", [None, "x", [], {"rules": 7, "brands": "Acme", "domains": [1]}, {"rules": {"a": 1}}]
)
def test_settings_that_cannot_be_read_loosen_nothing(settings: object) -> None:
    policy = policy_of(settings, is_live=True)
    assert (policy.brands, policy.domains, policy.levels) == ((), (), ())


def test_the_first_whole_phrase_of_a_group_is_named() -> None:
    found = scan("Click belowstairs, ACT -- now, risk free. Reply STOP to opt out", LIVE).findings
    assert [each.reason for each in found if each.rule == "style.pressure"] == ["'act now' looks like spam to filters"]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("https://Acme.com:8443/a?b, and acme.co.uk/x", ["acme.com", "acme.co.uk"]),
        ("(see www.acme.com)", ["www.acme.com"]),
        ("tomorrow.at noon, e.g. this", []),
        ("a.b@acme.com", []),
        ("https://", []),
        ("intranet.local/x", ["intranet.local"]),
    ],
)
def test_links_are_found_as_a_phone_finds_them(text: str, hosts: list[str]) -> None:
    assert [link.host for link in links.find(text)] == hosts


def test_a_long_hostile_text_is_scanned_in_no_time() -> None:
    """1,600 characters that look like the beginning of everything: no pattern may go quadratic."""
    for text in ("a." * 800, "{{" * 800, "http://" * 228, "A " * 800, "reply " * 266, "%" * 1600, "@" * 1600):
        assert scan(text[:1600], ONE_OFF).version == content.version()
