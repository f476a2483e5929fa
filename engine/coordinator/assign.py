"""Which number carries which prospect, as far as the tokens of this tick go."""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from engine.coordinator.pace import divide
from engine.coordinator.senders import LOOK_S, Senders, Tokens, Wish
from engine.coordinator.shard import Due
from engine.rules.caller_id import DidFacts, Pool
from engine.rules.campaign_config import parse_strategy
from engine.store.senders import Sender

Message = tuple[int | str | bool, ...]  # the fields of `engine.dispatch.hints.Hint`, in their order
Choose = Callable[[Due], DidFacts | None]


class Assigned(NamedTuple):
    wish: Wish
    due: list[Due]
    messages: list[Message]


def cut_to_tokens(wishes: Sequence[Wish], tokens: Tokens, now: float) -> list[Wish]:
    """Shares scarce tokens fairly among the campaigns that draw on the same numbers; who gets less asks again soon."""
    rivals: dict[tuple[int, bool], list[Wish]] = {}
    for wish in wishes:
        rivals.setdefault((id(wish.numbers), wish.walk.campaign.is_direct), []).append(wish)
    cut: list[Wish] = []
    for group in rivals.values():
        left = sum(tokens.of(group[0].walk, did) for did in group[0].numbers)
        for wish, share in zip(group, divide(left, [wish.most for wish in group]), strict=True):
            if share < wish.most:
                wish.walk.ask_at = now + LOOK_S
            if share:
                cut.append(wish._replace(most=share))
    return cut


class Assigner:
    """The assignments of one tick. Campaigns with the same numbers and strategy choose from one pool."""

    def __init__(self, tokens: Tokens, senders: Senders) -> None:
        self._tokens, self._senders = tokens, senders
        self._choosers: dict[tuple[int, bool, bool, str], Choose] = {}

    def assign(self, wish: Wish, now: float) -> Assigned:
        """Gives the first prospects that wait their numbers; those without one wait on. Records the hints.

        It does so before anything is awaited: the rescue must find each prospect either waiting or hinted.
        """
        walk = wish.walk
        account_id, campaign_id, is_direct = walk.campaign.account_id, walk.campaign.id, walk.campaign.is_direct
        choose = self._chooser(wish)
        given: list[Due] = []
        messages: list[Message] = []
        kept: deque[Due] = deque()
        bound: list[Due] = []
        used: Counter[int] = Counter()
        is_one_off_text = is_direct and walk.is_sms
        # A one-off contact that waits for its number does not stand in the way of those from others.
        looks = len(walk.waiting) if is_direct else wish.most
        while looks and len(given) < wish.most:
            looks -= 1
            due = walk.waiting.popleft()
            did = blocked_number(wish.blocked, due.last_did) or choose(due)
            if did is None and due.is_bound:
                bound.append(due)  # it waits for one number, and in nobody's way
                continue
            if did is None:
                kept.append(due)
                if is_direct:
                    continue
                break  # no number has a token left: it is the same for the rest
            given.append(due)
            walk.hints[due.prospect_id] = (due.attempt, now)
            message = (account_id, campaign_id, due.prospect_id, due.attempt, due.phone, did.id, did.number)
            messages.append((*message, True) if is_one_off_text else message)
            if did.id not in wish.blocked:
                used[did.id] += 1
        if kept or bound:
            walk.ask_at = now + LOOK_S
            walk.waiting.extendleft(reversed(kept))
            walk.waiting.extend(bound)
        for did_id, count in used.items():
            self._tokens.spend(walk, did_id, count)
            self._senders.used(did_id, count)
        return Assigned(wish, given, messages)

    def _chooser(self, wish: Wish) -> Choose:
        campaign = wish.walk.campaign
        is_capped = self._senders.is_capped(campaign)
        key = (id(wish.numbers), campaign.is_direct, is_capped, str(campaign.caller_id_strategy))
        if key not in self._choosers:
            facts = [
                did_facts(did, left, self._senders.recent_uses(did.id), self._senders.used_at(did))
                for did in wish.numbers
                if (left := self._tokens.of(wish.walk, did)) > 0
            ]
            strategy = campaign.caller_id_strategy
            self._choosers[key] = (
                own_number(facts) if campaign.is_direct else _by_strategy(facts, strategy, wish.numbers)
            )
        return self._choosers[key]


def take_back(assigned: Assigned) -> None:
    """As if it had not been assigned: the messages could not be enqueued. Its tokens stay spent."""
    walk = assigned.wish.walk
    for due in reversed(assigned.due):
        walk.hints.pop(due.prospect_id, None)
        walk.waiting.appendleft(due)


def _by_strategy(facts: list[DidFacts], strategy: object, in_use: Sequence[Sender]) -> Choose:
    pool, numbers = Pool(facts, parse_strategy(strategy)), {did.id for did in in_use}

    def choose(due: Due) -> DidFacts | None:
        if due.is_bound and due.last_did in numbers and not pool.has_token(due.last_did):
            return None
        return pool.take(due.phone, due.last_did)

    return choose


def did_facts(did: Sender, tokens: int, recent_uses: int, used_at: float) -> DidFacts:
    """The number as the choice sees it. One of which nothing is known yet counts as healthy."""
    return DidFacts(did.id, did.number, tokens, recent_uses, 1.0 if did.score is None else did.score, used_at)


def blocked_number(blocked: Mapping[int, str], last_did: int | None) -> DidFacts | None:
    """The number that last contacted this person, if it is blocked: the intent then holds the person back.

    To go on from another number is what carriers call evasion. A number that is gone, tired or busy is replaced.
    """
    number = None if last_did is None else blocked.get(last_did)
    return None if last_did is None or number is None else DidFacts(last_did, number, 1)


def own_number(facts: list[DidFacts]) -> Choose:
    """A one-off call comes from the number that its client named."""
    by_number = {did.number: did for did in facts}
    left = {did.id: did.tokens for did in facts}

    def choose(due: Due) -> DidFacts | None:
        did = by_number.get(due.sender or "")
        if did is None or not left[did.id]:
            return None
        left[did.id] -= 1
        return did

    return choose
