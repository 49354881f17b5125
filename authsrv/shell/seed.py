"""Filling a new issuer with modules and cards by the million, for load tests and trials.

All of it is one transaction, so that a seed that was broken off has done nothing. Cards go in by COPY; their tokens and
verifiers are what takes the time. Numbers are serials under a prefix and easy to guess, which is right here and wrong
for cards that are sold: those come from `card issue`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from typing import Final

from authsrv.card_number import card_number
from authsrv.keys import KeyRing, Purpose
from authsrv.shell.enrolment import (
    EnrolmentError,
    ModuleTraits,
    Random,
    add_branch,
    add_programme,
    enroll_modules,
    issuer_row,
    tokens_and_verifiers,
)
from authsrv.shell.kit import Kit, KitCard
from authsrv.shell.settings import Address
from ledger.shell.door import Connection
from loyalty.programme import AccessCode
from loyalty.source import parse_programme

PREFIX: Final = "637112"
BRANCHES: Final = ((1, "Centre"), (2, "Harbour"))
FIRST_MODULE: Final = 1001
PROGRAMME: Final = "gift.toml"
CHUNK: Final = 20_000


async def seed(
    connection: Connection,
    kek: bytes,
    ring: KeyRing,
    kit: Kit,
    *,
    address: Address,
    cards: int,
    modules: int,
    random: Random,
    progress: Callable[[int], None],
) -> None:
    """Give an issuer without modules and cards two branches, the gift programme, modules and cards.

    Modules are numbered from 1001 and take turns at the branches; every second card has an access code.

    Args:
        connection: of the owner's role, in a transaction that the caller commits.
        kek: the key-encryption key.
        ring: the issuer's keys.
        kit: where all that was made is written to.
        address: where the modules will find the switch.
        cards: how many.
        modules: how many.
        random: gives n unpredictable bytes.
        progress: is told how many cards are done, now and then.

    Raises:
        EnrolmentError: where there is no issuer, or anything was set up already.

    """
    issuer = await issuer_row(connection)
    if await connection.fetchval(
        "select exists (select from branches union all select from programmes union all select from cards)"
    ):
        raise EnrolmentError("this issuer is set up already; seed fills a new one, nothing was changed")
    for number, name in BRANCHES:
        await add_branch(connection, number, name)
    programme = parse_programme(files("loyalty").joinpath("programmes", PROGRAMME).read_text("utf-8"), PROGRAMME)
    number = await add_programme(connection, replace(programme, currency=issuer["code"]))
    enrolled = [
        (FIRST_MODULE + place, BRANCHES[place % len(BRANCHES)][0], f"Till {place + 1}") for place in range(modules)
    ]
    identities = await enroll_modules(connection, kek, enrolled, traits=ModuleTraits(), random=random)
    kit.begin(
        address,
        issuer["currency"],
        issuer["exponent"],
        [(identity, branch) for identity, (_, branch, _) in zip(identities, enrolled, strict=True)],
    )
    for start in range(0, cards, CHUNK):
        made = list(_cards(range(start, min(start + CHUNK, cards)), random, programme.name, programme.access_code))
        kit.cards(made)
        await _copy(connection, ring, number, made)
        progress(start + len(made))
    kit.end()
    await connection.execute("analyze cards")
    await connection.execute("analyze card_numbers")


def _cards(serials: range, random: Random, programme: str, access_code: AccessCode) -> Iterator[KitCard]:
    digits = iter(random(2 * len(serials)))
    for serial in serials:
        drawn = (next(digits) << 8 | next(digits)) % 10_000
        match access_code:
            case AccessCode.REQUIRED:
                coded = True
            case AccessCode.OPTIONAL:
                coded = serial % 2 == 0
            case AccessCode.NONE:
                coded = False
        yield KitCard(card_number(PREFIX, serial), f"{drawn:04d}" if coded else None, programme)


async def _copy(connection: Connection, ring: KeyRing, programme: int, cards: list[KitCard]) -> None:
    ids: list[int] = await connection.fetchval("select reserve_card_ids($1)", len(cards))
    tokens, verifiers = tokens_and_verifiers(
        ring, ((card_id, (card.number, card.access_code)) for card_id, card in zip(ids, cards, strict=True))
    )
    verifier_key, token_key = ring.current(Purpose.VERIFIER), ring.current(Purpose.TOKEN)
    await connection.copy_records_to_table(
        "cards",
        records=(
            (card_id, programme, None if verifier is None else verifier_key, verifier)
            for card_id, verifier in zip(ids, verifiers, strict=True)
        ),
        columns=("id", "programme", "verifier_key", "verifier"),
    )
    await connection.copy_records_to_table(
        "card_numbers",
        records=((token, token_key, card_id) for token, card_id in zip(tokens, ids, strict=True)),
        columns=("token", "token_key", "card"),
    )
