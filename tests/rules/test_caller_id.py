from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.caller_id import SELECTIONS, DidFacts, Pool, Strategy, choose

LOCAL = Strategy("round_robin", local_presence=True)
ANY = Strategy("round_robin")
LEAST_RECENT = Strategy("least_recently_used")
OVERLAY = "+16285550100"
SAN_FRANCISCO, LOS_ANGELES, NEW_YORK = "+14155550100", "+12135550100", "+12125550100"


def did(id_: int, number: str = NEW_YORK, **facts: float) -> DidFacts:
    return DidFacts(id_, number, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dids", "phone", "strategy", "chosen"),
    [
        ([], "+14155550123", ANY, None),
        ([did(1, tokens=0)], "+14155550123", LOCAL, None),
        ([did(1, SAN_FRANCISCO, tokens=0), did(2, LOS_ANGELES)], "+14155550123", LOCAL, 2),  # its own code is spent
        ([did(1), did(2, LOS_ANGELES), did(3, SAN_FRANCISCO, recent_uses=9)], "+14155550123", LOCAL, 3),
        ([did(1), did(2, LOS_ANGELES, recent_uses=9)], "+14155550123", LOCAL, 2),  # same state
        ([did(1, LOS_ANGELES), did(2, OVERLAY, recent_uses=9)], "+14155550123", LOCAL, 2),  # 628 serves the same place
        ([did(1, OVERLAY), did(2, SAN_FRANCISCO, recent_uses=9)], "+14155550123", LOCAL, 2),
        ([did(1), did(2, LOS_ANGELES)], "+13055550123", LOCAL, 1),
        ([did(1), did(2, LOS_ANGELES)], "+18005550123", LOCAL, 1),
        ([did(1), did(2, LOS_ANGELES)], "+442079460018", LOCAL, 1),
        ([did(1), did(2, SAN_FRANCISCO)], "+14155550123", ANY, 1),
        ([did(2), did(1)], "+14155550123", ANY, 1),
        ([did(1, recent_uses=2), did(2, recent_uses=1)], "+14155550123", ANY, 2),
        ([did(1, health=0.75), did(2, health=0.8, recent_uses=5)], "+14155550123", Strategy(), 2),
        ([did(1, health=0.81, recent_uses=5), did(2, health=0.8)], "+14155550123", Strategy(), 2),  # one band
        ([did(1, health=0.1), did(2, health=0.9)], "+14155550123", ANY, 1),  # only health_score asks
        ([did(1, used_at=9), did(2, used_at=5, recent_uses=9)], "+14155550123", LEAST_RECENT, 2),
        ([did(1, used_at=9), did(2)], "+14155550123", LEAST_RECENT, 2),  # never used
    ],
)
def test_choose(dids: list[DidFacts], phone: str, strategy: Strategy, chosen: int | None) -> None:
    answer = choose(dids, phone, strategy)
    assert (answer and answer.id) == chosen


@pytest.mark.parametrize("selection", SELECTIONS)
def test_equals_share_the_work_evenly_and_tokens_bound_it(selection: str) -> None:
    pool = Pool([did(number, tokens=25) for number in range(1, 5)], Strategy(selection))
    taken = Counter(answer.id for _ in range(100) if (answer := pool.take("+14155550123")))
    assert taken == {1: 25, 2: 25, 3: 25, 4: 25}
    assert pool.take("+14155550123") is None


def test_the_number_that_called_before_comes_first_while_it_can() -> None:
    pool = Pool(
        [did(1, SAN_FRANCISCO, tokens=9), did(2, tokens=2, recent_uses=50, health=0.71)], Strategy("health_score", True)
    )
    takes = [answer.id for _ in range(4) if (answer := pool.take("+14155550123", 2))]
    assert takes == [2, 2, 1, 1]  # its tokens are spent: for a neutral reason another one may call
    assert pool.take("+14155550123", 99) is not None  # a number that is gone


def test_least_recently_used_goes_round() -> None:
    dids = [did(1, tokens=9, used_at=3.0), did(2, tokens=9, used_at=1.0), did(3, tokens=9, used_at=2.0)]
    pool = Pool(dids, LEAST_RECENT)
    assert [answer.id for _ in range(7) if (answer := pool.take("+14155550123"))] == [2, 3, 1, 2, 3, 1, 2]


def test_round_robin_goes_round() -> None:
    pool = Pool([did(1, tokens=9), did(2, tokens=9, recent_uses=1), did(3, tokens=9)], ANY)
    assert [answer.id for _ in range(7) if (answer := pool.take("+14155550123"))] == [1, 3, 1, 2, 3, 1, 2]


def test_random_spreads_and_repeats_itself() -> None:
    dids = [did(number, tokens=1000) for number in range(1, 9)]
    first, second = (Pool(dids, Strategy("random")) for _ in range(2))
    runs = [[answer.id for _ in range(800) if (answer := pool.take("+14155550123"))] for pool in (first, second)]
    assert runs[0] == runs[1]
    assert set(runs[0]) == set(range(1, 9))


@given(
    st.lists(
        st.tuples(st.sampled_from(["415", "213", "212", "800"]), st.integers(0, 3), st.integers(0, 4)), max_size=12
    ),
    st.lists(st.sampled_from(["415", "310", "212", "305"]), max_size=40),
    st.booleans(),
)
def test_the_pool_agrees_with_choosing_one_by_one(
    numbers: list[tuple[str, int, int]], calls: list[str], local: bool
) -> None:
    strategy = Strategy("round_robin", local)
    dids = [did(i, f"+1{code}5550{100 + i}", tokens=t, recent_uses=u) for i, (code, t, u) in enumerate(numbers)]
    pool = Pool(dids, strategy)
    for code in calls:
        answer = pool.take(f"+1{code}5550123")
        expected = choose(dids, f"+1{code}5550123", strategy)
        assert (answer and answer.id) == (expected and expected.id)
        if expected:
            used = did(expected.id, expected.number, tokens=expected.tokens - 1, recent_uses=expected.recent_uses + 1)
            dids = [used if facts.id == used.id else facts for facts in dids]
