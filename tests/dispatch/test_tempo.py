"""The tempo: leads follow slow intents and forget them; batches that take too long shrink, and grow back."""

from engine.dispatch.tempo import (
    AT_LEAST,
    LONGEST_LEAD_S,
    LONGEST_PROMPT_LEAD_S,
    SHORTEST_LEAD_S,
    SHORTEST_PROMPT_LEAD_S,
    SLOW_S,
    SMALLEST_BATCH,
    Punctuality,
    Tempo,
)
from engine.limits.slots import LATE_S


def test_the_lead_follows_the_slowest_of_recent_intents() -> None:
    tempo = Tempo(500)
    tempo.committed(0.1)
    assert tempo.lead_s >= 0.1
    for _ in range(30):
        tempo.committed(0.001)
    assert tempo.lead_s == SHORTEST_LEAD_S


def test_the_lead_never_reaches_beyond_the_horizon() -> None:
    tempo = Tempo(500)
    tempo.committed(30.0)
    assert tempo.lead_s <= LONGEST_LEAD_S


def test_the_groups_of_a_batch_lead_ever_further() -> None:
    tempo = Tempo(500)
    tempo.committed(0.1)
    leads = [tempo.lead_of_group_s(number, 4) for number in range(4)]
    assert leads == sorted(set(leads))
    assert leads[0] == tempo.lead_s


def test_a_late_create_waits_no_longer_than_the_answer_that_grants_its_slot() -> None:
    tempo = Tempo(500)
    assert tempo.prompt_lead_s == SHORTEST_PROMPT_LEAD_S
    for _ in range(30):
        tempo.asked(0.05)
    assert 0.045 < tempo.prompt_lead_s < 0.055
    for _ in range(30):
        tempo.asked(5.0)
    assert tempo.prompt_lead_s == LONGEST_PROMPT_LEAD_S


def test_a_batch_that_takes_too_long_shrinks_to_its_floor_and_grows_back() -> None:
    tempo = Tempo(300)
    tempo.committed(2 * SLOW_S)
    assert tempo.batch_size == 200
    for _ in range(100):
        tempo.committed(2 * SLOW_S)
    assert tempo.batch_size == SMALLEST_BATCH
    for _ in range(100):
        tempo.committed(SLOW_S / 2)
    assert tempo.batch_size == 300


def test_who_is_often_late_is_so_until_hardly_ever_late() -> None:
    punctuality = Punctuality()

    def changes(late_of_a_hundred: int) -> bool:
        told = [punctuality.began(late_of_a_hundred, 2 * LATE_S), punctuality.began(100 - late_of_a_hundred, LATE_S)]
        return any(told)

    assert not punctuality.began(AT_LEAST - 1, 1.0)  # a moment at the start says nothing yet
    assert not punctuality.began(10 * AT_LEAST, 0.0)
    assert (changes(9), punctuality.is_late) == (False, False)
    assert (changes(11), punctuality.is_late) == (True, True)
    assert (changes(11), punctuality.is_late) == (False, True)
    assert (changes(5), punctuality.is_late) == (False, True)
    assert (changes(1), punctuality.is_late) == (True, False)
