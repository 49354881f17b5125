"""Fold `decide` over a batch: many requests, one transaction, each seeing what those before it did.

What must hold: the answers and the rows are what they would be if the requests came one by one in this order, each in a
transaction of its own at the same moment. So whatever one request changes, the next one sees: the card, the tries, what
was undone, the module's budget, the names themselves, tombstones included.

Nothing here touches the database: `gathered` was read before, `Writes` is written after, the caller brings randomness.
"""

from collections.abc import Callable, Sequence
from typing import Final

from authsrv.answer import compose, late_original, unrecorded
from authsrv.ask import Ask, same_content
from authsrv.decide import decide, recordable
from authsrv.facts import Code, Decision, Facts, Module, Moment
from authsrv.keys import NONCE_BYTES, KeyRing
from authsrv.registry import Registry
from ledger.authorizations import Authorization, Original, Recorded
from ledger.batch import Gathered, Writes
from ledger.cards import Card, Number
from ledger.names import Name
from loyalty.programme import AccessCode, Programme
from protocol.messages import Request
from protocol.numbers import Command, Reason

NONCES: Final = 64  # drawn at once

_UNKNOWN = Number(card=None, live=True, failures=0)


class Fold:
    """One batch on its way through: give it the requests in order with `answer`, then write `writes`."""

    def __init__(self, gathered: Gathered, registry: Registry, ring: KeyRing, random: Callable[[int], bytes]) -> None:
        """Start from what was gathered; `random(n)` gives n random bytes for the nonces of sealed answers."""
        self.writes = Writes()
        self._gathered = gathered
        self._registry = registry
        self._ring = ring
        self._random = random
        self._moment = Moment(gathered.decided_at, gathered.local_at.replace(microsecond=0), gathered.booked_on)
        self._numbers: dict[bytes, Number] = dict(gathered.numbers)
        self._cards: dict[int, Card] = dict(gathered.cards)
        self._bad_cards: dict[int, int] = dict(gathered.bad_cards)
        self._originals: dict[Name, Original] = {original.name: original for original in gathered.originals.values()}
        self._decided: dict[Name, Authorization] = {}
        self._programmes: dict[int, Programme | None] = {}
        self._nonces = b""

    def answer(self, place: int, ask: Ask) -> bytes:
        """The answer to the request at `place` of the batch, page 1, 1,400 bytes."""
        decided = self._decided.get(ask.name)
        recorded = self._as_recorded(decided) if decided is not None else self._gathered.recorded.get(place)
        if recorded is not None:
            return self._answer_again(ask, recorded)
        serial = self._gathered.serials[place]
        if not recordable(ask.name.date, self._moment.today):
            return self._unrecorded(ask, Reason.OUTSIDE_WINDOW)
        if serial is None:
            return self._unrecorded(ask, Reason.BAD_REQUEST)
        facts = self._facts(place, ask)
        decision = decide(ask.request, ask.name.date, facts)
        self._apply(ask, facts, decision)
        if decision.tombstone is not None:
            self._entomb(place, ask, decision.tombstone)
        return self._record(ask, facts, decision, serial)

    # Repeats

    def _answer_again(self, ask: Ask, recorded: Recorded) -> bytes:
        if recorded.tombstone:
            return late_original(ask.envelope, self._registry.issuer, self._module(ask), recorded)
        if recorded.token_key is None or recorded.digest_key is None or recorded.answer is None:
            raise ValueError("an authorization was recorded without digest or answer")
        if same_content(ask, self._ring, recorded.token_key, recorded.digest_key) != recorded.digest:
            return self._unrecorded(ask, Reason.OTHER_CONTENT)
        return self._ring.open(ask.name, 1, recorded.answer)

    def _unrecorded(self, ask: Ask, reason: Reason) -> bytes:
        return unrecorded(ask.envelope, self._registry.issuer, self._module(ask), reason, self._moment)

    # Facts

    def _module(self, ask: Ask) -> Module:
        return self._registry.modules[ask.name.module]

    def _facts(self, place: int, ask: Ask) -> Facts:
        original = self._original(place, ask)
        token = ask.shown
        number = self._numbers.get(token, _UNKNOWN) if token is not None else None
        card_id = original.card if original is not None else number.card if number is not None else None
        card = self._cards.get(card_id) if card_id is not None else None
        programme = self._programme(card.programme) if card is not None else None
        return Facts(
            moment=self._moment,
            issuer=self._registry.issuer,
            module=self._module(ask),
            number=number,
            card=card,
            programme=programme,
            original=original,
            code=self._code(ask, number, programme),
            bad_cards=self._bad_cards.get(ask.name.module, 0),
        )

    def _programme(self, number: int) -> Programme | None:
        """The rules in force today, looked up once a batch."""
        if number not in self._programmes:
            self._programmes[number] = self._registry.programme(number, self._moment.today)
        return self._programmes[number]

    def _original(self, place: int, ask: Ask) -> Original | None:
        found = self._gathered.originals.get(place)
        name = ask.original if found is None else found.name
        return self._known(name) if name is not None else None

    def _known(self, name: Name) -> Original | None:
        """The authorization of that name as it stands now, gathered or decided in this batch."""
        decided = self._decided.get(name)
        if decided is not None and name not in self._originals:
            self._originals[name] = self._as_original(decided)
        return self._originals.get(name)

    def _code(self, ask: Ask, number: Number | None, programme: Programme | None) -> Code:
        if number is None or not ask.code_came:
            return Code.ABSENT
        card = self._cards.get(number.card) if number.card is not None else None
        verifier, version = (card.verifier, card.verifier_key) if card is not None else (None, None)
        right = self._ring.verifies(number.card, verifier, version, ask.code)
        if card is not None and programme is not None and programme.access_code is AccessCode.NONE:
            return Code.ABSENT
        return Code.RIGHT if right else Code.WRONG

    # Consequences

    def _apply(self, ask: Ask, facts: Facts, decision: Decision) -> None:
        if decision.card is not None and facts.card is not None:
            self._cards[decision.card.id] = decision.card
            if decision.card.kept != facts.card.kept:
                self.writes.cards[decision.card.id] = decision.card
        if decision.failures is not None and ask.token is not None and facts.number is not None:
            self._numbers[ask.token] = facts.number._replace(failures=decision.failures)
            self.writes.failures[ask.token] = decision.failures
        if decision.bad_card:
            module = ask.name.module
            self._bad_cards[module] = facts.bad_cards + 1
            self.writes.bad_cards[module] = self.writes.bad_cards.get(module, 0) + 1
        for undo in decision.undos:
            undone = self._known(undo.original)
            if undone is not None:
                self._originals[undo.original] = undone._replace(
                    reversed=undone.reversed or undo.reversal,
                    refunded=undone.refunded if undo.reversal else undone.refunded + undo.amount,
                )

    def _entomb(self, place: int, ask: Ask, name: Name) -> None:
        """Record under the original's name that it was reversed before it came."""
        serial = self._gathered.tombstone_serials[place]
        if serial is None:
            raise ValueError("a tombstone's month is not made")
        module = self._module(ask)
        self._keep(
            Authorization(
                name=name,
                number=serial,
                tombstone=True,
                command=Command.REVERSE,
                result=Reason.REVERSED_BEFORE_ARRIVAL.result,
                reason=Reason.REVERSED_BEFORE_ARRIVAL,
                branch=module.branch,
                unit=self._registry.issuer.currency,
            )
        )

    def _record(self, ask: Ask, facts: Facts, decision: Decision, serial: int) -> bytes:
        """Write the outcome under its name, keep it for the rest of the batch, and give its first page."""
        request = ask.request if isinstance(ask.request, Request) else None
        copy_of: tuple[bytes, ...] = ()
        if ask.command is Command.REPRINT and facts.original is not None:
            copy_of = tuple(
                self._ring.open(facts.original.name, page, sealed)
                for page, sealed in enumerate(facts.original.answers, start=1)
            )
        pages = compose(ask, facts, decision, serial, copy_of)
        sealed = tuple(
            [self._ring.seal(ask.name, place, page, self._nonce()) for place, page in enumerate(pages, start=1)]
        )
        token_key, digest_key = self._ring.token_key, self._ring.digest_key
        digest = same_content(ask, self._ring, token_key, digest_key)
        original, card = facts.original, decision.card or facts.card
        self._keep(
            Authorization(
                name=ask.name,
                number=serial,
                tombstone=False,
                command=ask.envelope.command,
                result=decision.result,
                reason=decision.reason,
                branch=facts.module.branch,
                unit=facts.issuer.currency,
                cashier=request.cashier if request else 0,
                programme=card.programme if card else None,
                programme_version=facts.programme.version if facts.programme else None,
                card=card.id if card else None,
                requested=request.amount if request else 0,
                approved=decision.approved,
                original=original.name if original else decision.tombstone,
                token_key=token_key,
                digest_key=digest_key,
                digest=digest,
                answers=sealed,
                postings=decision.postings,
                undos=decision.undos,
            )
        )
        return pages[0]

    def _nonce(self) -> bytes:
        """Twelve random bytes, drawn for many pages at once."""
        if not self._nonces:
            self._nonces = self._random(NONCES * NONCE_BYTES)
        nonce, self._nonces = self._nonces[:NONCE_BYTES], self._nonces[NONCE_BYTES:]
        return nonce

    def _keep(self, authorization: Authorization) -> None:
        """Have it written, and known to the rest of the batch."""
        self.writes.authorizations.append(authorization)
        self._decided[authorization.name] = authorization

    def _as_recorded(self, decided: Authorization) -> Recorded:
        answer = decided.answers[0] if decided.answers else None
        return Recorded(
            decided.tombstone, decided.number, self._moment.at, self._moment.local,
            decided.token_key, decided.digest_key, decided.digest, answer,
        )  # fmt: skip

    def _as_original(self, decided: Authorization) -> Original:
        return Original(
            name=decided.name,
            tombstone=decided.tombstone,
            number=decided.number,
            command=decided.command,
            result=decided.result,
            unit=decided.unit,
            card=decided.card,
            requested=decided.requested,
            approved=decided.approved,
            booked_on=self._moment.booked_on,
            original=decided.original,
            reversed=False,
            refunded=0,
            postings=decided.postings,
            answers=decided.answers,
        )


def answer_all(asks: Sequence[Ask], fold: Fold) -> list[bytes]:
    """The answers to a batch, in its order."""
    return [fold.answer(place, ask) for place, ask in enumerate(asks)]
