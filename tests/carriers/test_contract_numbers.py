"""What every carrier that sells numbers owes the engine, over both shapes; and the simulated analytics engines."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from engine.carriers import reputation
from engine.carriers.http import HttpOptions
from engine.carriers.port import Fault, NumberSearch, Outcome
from engine.carriers.reputation import ReputationProvider
from engine.errors import Misconfigured
from tests.carriers.conftest import SETTINGS, Stage, open_stage, stage_config


def bought(stage: Stage, number: str) -> list[bool]:
    """Whether each purchase of the number in the carrier's log was one in fact."""
    return [line["is_new"] for line in stage.log("number") if line["number"] == number and line["action"] == "bought"]


async def test_a_search_finds_what_was_asked_for_every_time(stage: Stage) -> None:
    found = await stage.carrier.search_numbers(NumberSearch("949", "5501", 3))
    assert [offer.number for offer in found.numbers] == ["+19495550100", "+19495550101", "+19495550102"]
    assert {(offer.area_code, offer.state, offer.city) for offer in found.numbers} == {("949", "CA", "Los Angeles")}
    assert all(offer.monthly_cost > 0 for offer in found.numbers)
    assert await stage.carrier.search_numbers(NumberSearch("949", "5501", 3)) == found
    anywhere = await stage.carrier.search_numbers(NumberSearch("", "50142"))
    assert len(anywhere.numbers) == 10
    assert (await stage.carrier.search_numbers(NumberSearch("800"))).numbers == ()


async def test_a_number_is_bought_once_whatever_the_ref_repeats(stage: Stage) -> None:
    first = await stage.carrier.buy_number("+19495550100", "op-1-0")
    again = await stage.carrier.buy_number("+19495550100", "op-1-0")
    assert (first.outcome, first.error) == (Outcome.ACCEPTED, None)
    assert again == first
    assert bought(stage, "+19495550100") == [True, False]
    offers = await stage.carrier.search_numbers(NumberSearch("949", "", 1))
    assert offers.numbers[0].number == "+19495550101"


async def test_what_somebody_has_is_refused_for_good(stage: Stage) -> None:
    await stage.carrier.buy_number("+19495550100", "op-1-0")
    for number in ("+19495550100", "+19495559999", "+442079460018"):
        receipt = await stage.carrier.buy_number(number, f"op-2-{number}")
        assert receipt.outcome is Outcome.REJECTED
        assert receipt.error is not None
        assert (receipt.error.fault, receipt.error.retryable) == (Fault.BAD_REQUEST, False)
        assert receipt.error.text


@pytest.mark.parametrize("last_two", ["31", "32"])  # 503 and a dropped connection, after it was sold
async def test_a_lost_answer_is_doubtful_and_learnt_by_the_same_ref(stage: Stage, last_two: str) -> None:
    number = f"+194955501{last_two}"
    assert (await stage.carrier.buy_number(number, "op-1-0")).outcome is Outcome.UNKNOWN
    assert (await stage.carrier.buy_number(number, "op-1-0")).outcome is Outcome.ACCEPTED
    assert bought(stage, number) == [True, False]


async def test_later_is_no_refusal(stage: Stage) -> None:
    receipt = await stage.carrier.buy_number("+19495550130", "op-1-0")
    assert receipt.error is not None
    assert (receipt.error.fault, receipt.error.retryable) == (Fault.RATE_LIMITED, True)
    dropped = await stage.carrier.buy_number("+19495550134", "op-1-1")
    assert dropped.outcome is Outcome.UNKNOWN
    assert bought(stage, "+19495550134") == []


async def test_a_number_is_given_back_once_and_is_on_offer_again(stage: Stage) -> None:
    receipt = await stage.carrier.buy_number("+19495550100", "op-1-0")
    for _ in range(2):
        back = await stage.carrier.release_number("+19495550100", receipt.carrier_id, "op-2")
        assert back.outcome is Outcome.ACCEPTED
    assert [line["action"] for line in stage.log("number")] == ["bought", "released"]
    again = await stage.carrier.buy_number("+19495550100", "op-3-0")
    assert again.outcome is Outcome.ACCEPTED
    assert again.carrier_id != receipt.carrier_id
    assert (await stage.carrier.release_number("+19495550100", "", "op-4")).outcome is Outcome.ACCEPTED  # by number


async def test_a_restart_forgets_no_sale(carrier_name: str, tmp_path: Path) -> None:
    log = tmp_path / "network.jsonl"
    async with open_stage(carrier_name, log, stage_config()) as before:
        first = await before.carrier.buy_number("+19495550100", "op-1-0")
        given = await before.carrier.buy_number("+19495550101", "op-1-1")
        await before.carrier.release_number("+19495550101", given.carrier_id, "op-2")
    async with open_stage(carrier_name, log, stage_config()) as after:
        assert await after.carrier.buy_number("+19495550100", "op-1-0") == first
        offers = await after.carrier.search_numbers(NumberSearch("949", "", 1))
        assert offers.numbers[0].number == "+19495550101"


async def test_a_carrier_that_is_away_says_nothing(stage: Stage) -> None:
    await stage.network.exchange.close()
    stage.network.exchange.set_faults(stage.network.exchange.faults.model_copy(update={"drop_before_accept": 1.0}))
    receipts = await asyncio.gather(*(stage.carrier.buy_number(f"+194955501{n:02d}", f"op-{n}") for n in range(3)))
    assert {receipt.outcome for receipt in receipts} == {Outcome.UNKNOWN}


@pytest.fixture
async def provider(stage: Stage) -> AsyncIterator[ReputationProvider]:
    built = reputation.build("simulated", {**SETTINGS, "base_url": stage.network.base_url}, HttpOptions())
    yield built
    await built.close()


async def label(stage: Stage, number: str, words: str | None) -> None:
    async with (
        aiohttp.ClientSession(stage.network.base_url) as session,
        session.post("/control/labels", json={number: words}) as answer,
    ):
        assert answer.status == 200


async def test_engines_say_the_same_until_somebody_labels_a_number(stage: Stage, provider: ReputationProvider) -> None:
    clean = await provider.check("+19495550100")
    assert (clean.error, len(clean.verdicts)) == (None, 3)
    assert not any(verdict.flagged or verdict.spam_score > 0.3 for verdict in clean.verdicts)
    assert await provider.check("+19495550100") == clean
    await label(stage, "+19495550100", "Scam Likely")
    labelled = await provider.check("+19495550100")
    assert all(verdict.flagged and verdict.details == "Scam Likely" for verdict in labelled.verdicts)
    await label(stage, "+19495550100", None)
    assert await provider.check("+19495550100") == clean


async def test_a_provider_that_fails_says_so(stage: Stage) -> None:
    wrong = {**SETTINGS, "secret": "wrong", "base_url": stage.network.base_url}
    for settings, retryable in ((wrong, False), ({**SETTINGS, "base_url": "http://127.0.0.1:9"}, True)):
        provider = reputation.build("simulated", settings, HttpOptions())
        found = await provider.check("+19495550100")
        await provider.close()
        assert found.error is not None
        assert (found.verdicts, found.error.retryable) == ((), retryable)


def test_an_unknown_provider_is_named_with_the_known_ones() -> None:
    with pytest.raises(Misconfigured, match="simulated"):
        reputation.build("acme", {}, HttpOptions())
