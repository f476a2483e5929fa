"""Topics of canonical events, and globs over them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules.topics import ALL, MOST_GLOBS, TOPICS, expand, matches, topic_of, types_of

INCOMING = {topic for topic in ALL if topic.startswith("voice.incoming.")}


@pytest.mark.parametrize(
    ("event_type", "payload", "topic"),
    [
        ("voice.failed", {"started": False}, ""),  # no start, so no end
        ("voice.failed", {}, ""),
        ("voice.failed", {"started": True}, "voice.outgoing.end"),
        ("sms.sent", {}, "messaging.outgoing.sms"),
        ("sms.sent", {"mediaUrls": []}, "messaging.outgoing.sms"),
        ("sms.sent", {"mediaUrls": ["https://example.com/a.png"]}, "messaging.outgoing.mms"),
        ("sms.received", {"mediaUrls": None}, "messaging.incoming.sms"),
        ("sms.received", {"mediaUrls": ["https://example.com/a.png"]}, "messaging.incoming.mms"),
        ("sms.opt_out", {}, "messaging.update.opt-out"),
        ("voice.initiated", {}, "voice.outgoing.start"),
        ("voice.ai.initiated", {}, "voice.outgoing.start"),
        ("voice.answered", {}, "voice.outgoing.answer"),
        ("voice.completed", {}, "voice.outgoing.end"),
        ("voice.ai.completed", {}, "voice.outgoing.end"),
        ("voice.inbound", {}, "voice.incoming.start"),
        ("call.incoming.answered", {}, "voice.incoming.answer"),
        ("call.incoming.ended", {}, "voice.incoming.end"),
        ("call.internal.started", {}, "voice.internal.start"),
        ("call.internal.answered", {}, "voice.internal.answer"),
        ("call.internal.ended", {}, "voice.internal.end"),
        ("call.originate.started", {}, "voice.originate.start"),
        ("call.originate.answered", {}, "voice.originate.answer"),
        ("call.originate.ended", {}, "voice.originate.end"),
        ("call.confirm.started", {}, "voice.callconfirm.start"),
        ("call.confirm.accepted", {}, "voice.callconfirm.acceptcall"),
        ("call.confirm.rejected", {}, "voice.callconfirm.rejectcall"),
        ("call.agent_pin.prompted", {}, "voice.incoming.agentpin-prompt"),
        ("call.agent_pin.accepted", {}, "voice.incoming.agentpin-valid"),
        ("call.agent_pin.timed_out", {}, "voice.incoming.agentpin-timeout"),
        ("voice.amd", {}, ""),
        ("sms.delivered", {}, ""),
        ("campaign.call.busy", {}, ""),
        ("nonsense", {}, ""),
    ],
)
def test_the_topic_of_an_event(event_type: str, payload: dict[str, object], topic: str) -> None:
    assert topic_of(event_type, payload) == topic
    assert not topic or topic in TOPICS[event_type]


@pytest.mark.parametrize(
    ("globs", "topics"),
    [
        (["voice.incoming.*"], INCOMING),
        (["voice.incoming.**"], INCOMING),
        (["**"], ALL),
        (["*.*.*"], ALL),
        (["**.*.**.*.**.*.**"], ALL),
        (["*.incoming.**"], INCOMING | {"messaging.incoming.sms", "messaging.incoming.mms"}),
        (["messaging.**.mms"], {"messaging.incoming.mms", "messaging.outgoing.mms"}),
        (["**.opt-out", "**.opt-out"], {"messaging.update.opt-out"}),
        (
            ["voice.incoming.start", "**.sms"],
            {"voice.incoming.start", "messaging.incoming.sms", "messaging.outgoing.sms"},
        ),
        ([], set()),
    ],
)
def test_globs(globs: list[str], topics: set[str]) -> None:
    assert expand(globs) == topics


@pytest.mark.parametrize(
    ("glob", "words"),
    [
        ("voice.inc*", "malformed topic 'voice.inc*'"),
        ("voice.***", "malformed"),
        ("**.**.**.**.**.**.**.**.**", "malformed"),
        ("voice", "unknown topic 'voice'"),
        ("voice.*", "unknown"),
        ("*.*.*.*", "unknown"),
        ("voice.incoming.agentpin", "unknown"),
        ("Voice.incoming.start", "unknown"),
        ("voice..start", "unknown"),
        ("", "unknown topic ''"),
        ("sms.sent", "unknown"),
        ("x" * 100_000, f"unknown topic '{'x' * 64}'"),
        ("\r\nX: 1", "unknown"),
    ],
)
def test_a_glob_that_is_malformed_or_covers_nothing_is_named(glob: str, words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        expand(["voice.**", glob])
    assert words in refused.value.message
    assert refused.value.fields == {"topics": [glob[:64]]}


def test_globs_are_few() -> None:
    with pytest.raises(InvalidInput, match=f"at most {MOST_GLOBS}"):
        expand([f"x{n}.**" for n in range(MOST_GLOBS + 1)])


_SEGMENTS = st.sampled_from(["a", "b", "*", "**"])


@given(st.lists(_SEGMENTS, min_size=1, max_size=6), st.lists(st.sampled_from("ab"), min_size=1, max_size=6))
def test_globs_mean_what_the_regular_expression_of_their_definition_means(glob: list[str], topic: list[str]) -> None:
    """Each segment ends with a dot here, so that `**` can stand for none of them."""
    pattern = "".join({"*": r"[^.]+\.", "**": r"(?:[^.]+\.)*"}.get(part, rf"{part}\.") for part in glob)
    expected = re.fullmatch(pattern, "".join(f"{part}." for part in topic)) is not None
    assert matches(".".join(glob), ".".join(topic)) is expected


@given(st.sets(st.sampled_from(sorted(ALL))))
def test_types_hold_all_that_can_have_one_of_the_topics(topics: set[str]) -> None:
    types = types_of(frozenset(topics))
    for event_type, known in TOPICS.items():
        assert (event_type in types) is bool(topics & set(known))
