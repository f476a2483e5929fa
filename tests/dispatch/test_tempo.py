"""The tempo: leads follow slow intents, batches shrink with misses and grow back."""

from engine.dispatch.tempo import LONGEST_LEAD_S, SMALLEST_BATCH, Tempo


def test_the_lead_follows_the_slowest_of_recent_intents() -> None:
    tempo = Tempo(500)
    tempo.committed(0.1)
    assert tempo.lead_s >= 0.1
    for _ in range(200):
        tempo.committed(0.001)
    assert tempo.lead_s < 0.02


def test_the_lead_never_reaches_beyond_the_horizon() -> None:
    tempo = Tempo(500)
    tempo.committed(30.0)
    assert tempo.lead_s <= LONGEST_LEAD_S


def test_many_misses_between_two_batches_shrink_it_once() -> None:
    tempo = Tempo(300)
    for _ in range(50):
        tempo.missed()
    tempo.committed(0.01)
    assert tempo.batch_size == 200


def test_a_batch_shrinks_to_its_floor_and_grows_back() -> None:
    tempo = Tempo(300)
    for _ in range(100):
        tempo.missed()
        tempo.committed(0.01)
    assert tempo.batch_size == SMALLEST_BATCH
    for _ in range(100):
        tempo.committed(0.01)
    assert tempo.batch_size == 300
