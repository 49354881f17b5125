"""Known answers for those who write a module in another language: `vectors/vectors.json`.

Every value between input and output is there, so that an encoder that goes wrong can see where. The inputs are plain
patterns and stand in the file. What this project's own tests trust is another set, made by an encoder that shares no
line with it.
"""

import datetime
import hashlib
import json
from typing import Any, Final

from protocol import access_code, frame, signon
from protocol.crypto import extract, x25519_public, x25519_shared
from protocol.fields import RULES
from protocol.messages import (
    FormatError,
    Freeze,
    OriginalName,
    Request,
    Response,
    Taken,
    Tenders,
    Totals,
    Voucher,
    decode_request,
)
from protocol.numbers import Command, Flag, FrameType, GivenReason, Suite
from protocol.session import MODULE_COUNTS_FROM, SWITCH_COUNTS_FROM, Sealer
from protocol.signon import ModuleIdentity, Terms

_ROOT_KEY = bytes(range(0x80, 0xA0))
_GROUP_KEY = bytes(range(0xC0, 0xD0))
_SESSION = bytes.fromhex("0123456789abcdef")
_NAME_RANDOM, _MODULE_RANDOM, _SWITCH_RANDOM = b"\x21" * 10, b"\x31" * 16, b"\x32" * 16
_MODULE_PRIVATE, _SWITCH_PRIVATE = b"\x41" * 32, b"\x42" * 32
_CODE_RANDOM = bytes.fromhex("f1f2f3f4f5f6f7f8")
_TERMS = Terms(2**24, 86_400, 90, 16, 20261130, 77)
_CARD = "6371120000000000017"
_DATE, _TIME = datetime.date(2026, 12, 1), datetime.time(9, 30, 5)
_ORIGINAL = OriginalName(datetime.date(2026, 11, 30), 77)

# What each command's example holds beside its name, date and time.
_FIELDS: Final[dict[Command, dict[str, Any]]] = {
    Command.ECHO: {},
    Command.PAGE: {"original": "323000000014", "page": 2},
    Command.BALANCE: {"card": _CARD},
    Command.ACTIVATE: {"card": _CARD, "amount": 5000, "unit": 978},
    Command.RELOAD: {"card": _CARD, "amount": 2000, "unit": 978, "till_receipt": "R-000126"},
    Command.SALE: {"card": _CARD, "amount": 1750, "unit": 978, "flags": Flag.PARTIAL | Flag.KEYED, "cashier": 5},
    Command.HOLD: {"card": _CARD, "amount": 3000, "unit": 978},
    Command.CONFIRM: {"amount": 2500, "original": _ORIGINAL},
    Command.RELEASE: {"original": _ORIGINAL},
    Command.REFUND: {"amount": 500, "original": "323000000014"},
    Command.REVERSE: {"amount": 1750, "original": _ORIGINAL, "reason": GivenReason.NO_ANSWER},
    Command.PAYMENT: {"card": _CARD, "amount": 10_000, "unit": 978},
    Command.VISIT: {"card": _CARD, "unit": 0x8001},
    Command.CASH_OUT: {"card": _CARD},
    Command.BLOCK: {"card": _CARD, "reason": GivenReason.LOST},
    Command.UNBLOCK: {"card": _CARD, "reason": GivenReason.FOUND},
    Command.CHANGE_ACCESS_CODE: {"card": _CARD, "new_access_code_block": bytes(range(1, 17))},
    Command.REPLACE: {"card": _CARD, "new_card": "6371120000000000025"},
    Command.TOTALS: {
        "unit": 978,
        "totals": Totals(
            OriginalName(datetime.date(2026, 11, 30), 1), _ORIGINAL, tuple((n, 100 * n) for n in range(10))
        ),
    },
    Command.REPRINT: {"original": _ORIGINAL},
    Command.PURCHASE: {
        "card": _CARD,
        "amount": 5000,
        "eligible": 4500,
        "vouchers": (Voucher("GIFT-0001", 500), Voucher("GIFT-0002", 300)),
        "tenders": Tenders(points=100, stored_value=2000, credit=0, external=2100),
        "basket": b"\x51" * 16,
    },
    Command.QUOTE: {"card": _CARD, "amount": 5000},
    Command.REGISTER: {"card": _CARD},
    Command.VOUCHER_CHECK: {"vouchers": (Voucher("GIFT-0001", 0),)},
    Command.VOUCHER_ACTIVATE: {"vouchers": (Voucher("GIFT-0001", 0),), "card": _CARD},
    Command.VOUCHER_REDEEM: {"vouchers": (Voucher("GIFT-0001", 500),), "amount": 5000},
    Command.ADJUST: {"card": _CARD, "amount": 100, "unit": 0x8002, "reason": GivenReason.GOODWILL},
    Command.FREEZE: {"card": _CARD, "freeze": Freeze(datetime.date(2026, 12, 24), datetime.date(2027, 1, 6))},
    Command.LIMIT: {"card": _CARD, "limit": 50_000},
    Command.RESET_TRIES: {"card": _CARD},
}

# A sale with one wrong stretch: where, and the bytes that stand there instead.
_REFUSED: Final = (
    ("unknown command", 0, "00ff"),
    ("unknown flag", 2, "0020"),
    ("offline advice", 2, "0002"),
    ("unknown unit", 4, "8000"),
    ("30 February", 20, f"{20260230:08x}"),
    ("year 0", 20, f"{1201:08x}"),
    ("sequence 0", 16, "00000000"),
    ("24 o'clock", 24, f"{240_000:08x}"),
    ("a field that a sale forbids", 6, "0001"),
    ("an unused byte", 140, "01"),
    ("a byte of another command's area", 160, "01"),
    ("no card", 36, "00" * 20),
    ("an amount of 2^63", 8, "8000000000000000"),
    ("a card that is not digits", 36, "36334131"),
    ("a block without its flag", 56, "01"),
    ("a flag without its block", 2, "0008"),
    ("a line feed in a text", 72, "0a"),
)


def text() -> str:
    """The text of `vectors.json`."""
    vectors = {
        "generated": "by `python -m protocol.generate`; bytes in hex",
        "sessions": {str(suite.value): _session(suite) for suite in Suite},
        "requests": {command.name.lower(): _request(_example(command)) for command in Command},
        "refused": [_refusal(*case) for case in _REFUSED],
    }
    return json.dumps(vectors, indent=1) + "\n"


def _example(command: Command) -> Request:
    return Request(command=command, module=1001, date=_DATE, sequence=78, time=_TIME, **_FIELDS[command])


def _request(request: Request) -> dict[str, Any]:
    plain = request.encode()
    values = RULES[request.command].codec.unpack(plain)
    return {
        "fields": {name: _json(value) for name, value in values.items() if _json(value)},
        "plain": plain.hex(),
    }


def _json(value: int | bytes) -> int | str:
    """A number, or bytes in hex; nothing for zeros."""
    return value if isinstance(value, int) else value.hex() if any(value) else ""


def _refusal(case: str, at: int, wrong: str) -> dict[str, Any]:
    good = _example(Command.SALE).encode()
    plain = good[:at] + bytes.fromhex(wrong) + good[at + len(wrong) // 2 :]
    try:
        decode_request(plain)
    except FormatError as refused:
        return {"case": case, "plain": plain.hex(), "reason": refused.reason.value, "field": refused.field}
    raise AssertionError(f"not refused: {case}")


def _session(suite: Suite) -> dict[str, Any]:
    identity = ModuleIdentity(1001, 3, suite, _ROOT_KEY, 7, _GROUP_KEY)
    with_share = suite is Suite.SHARED_KEY_X25519
    module_private, switch_private = (_MODULE_PRIVATE, _SWITCH_PRIVATE) if with_share else (None, None)
    hello = signon.hello(identity, _SESSION, _NAME_RANDOM, _MODULE_RANDOM, module_private)
    welcome, keys = signon.welcome(hello, identity.root, _TERMS, _SWITCH_RANDOM, switch_private)

    agreed = x25519_shared(_MODULE_PRIVATE, x25519_public(_SWITCH_PRIVATE)) if with_share else b""
    code = access_code.encode("4321", _CARD, keys.access_code, _CODE_RANDOM)
    request = Request(
        command=Command.SALE,
        module=1001,
        date=_DATE,
        sequence=78,
        time=_TIME,
        flags=Flag.ACCESS_CODE,
        unit=978,
        amount=1750,
        card=_CARD,
        access_code_block=code,
    )
    answer = Response(
        command=request.command,
        flags=request.flags,
        sequence=78,
        date=20261201,
        module=1001,
        unit=978,
        pages=1,
        page=1,
        authorization="324000000012",
        switch_date=_DATE,
        switch_time=_TIME,
        approved=1750,
        balance=3250,
        available=3250,
        columns=32,
        taken=Taken(stored_value=1750),
        text=b"APPROVED\n",
    ).encode()
    to_switch = Sealer(keys.to_switch, keys.iv_to_switch, MODULE_COUNTS_FROM)
    to_module = Sealer(keys.to_module, keys.iv_to_module, SWITCH_COUNTS_FROM)
    echo = Request(command=Command.ECHO, module=1001, date=_DATE, sequence=77, time=_TIME).encode()
    given = {
        "root_key": _ROOT_KEY,
        "group_key": _GROUP_KEY,
        "session": _SESSION,
        "name_random": _NAME_RANDOM,
        "module_random": _MODULE_RANDOM,
        "switch_random": _SWITCH_RANDOM,
        "module_private": module_private or b"",
        "switch_private": switch_private or b"",
        "access_code_random": _CODE_RANDOM,
    }
    made = {
        "hello": hello,
        "x25519": agreed,
        "transcript_hash": hashlib.sha256(hello + welcome[: signon.WELCOME_CLEAR]).digest(),
        "prk": extract(signon.SESSION_SALT, _ROOT_KEY + agreed),
        "key_module_to_switch": keys.to_switch,
        "key_switch_to_module": keys.to_module,
        "key_access_code": keys.access_code,
        "iv_module_to_switch": keys.iv_to_switch,
        "iv_switch_to_module": keys.iv_to_module,
        "next_root": keys.next_root or b"",
        "welcome": welcome,
        "access_code_block": code,
        "echo_plain": echo,
        "echo_frame": to_switch.seal(FrameType.REQUEST, _SESSION, echo),
        "request_plain": request.encode(),
        "request_frame": to_switch.seal(FrameType.REQUEST, _SESSION, request.encode()),
        "request_nonce": frame.nonce(keys.iv_to_switch, 1),
        "response_plain": (1).to_bytes(8) + answer,
        "response_frame": to_module.seal(FrameType.RESPONSE, _SESSION, (1).to_bytes(8) + answer),
        "response_nonce": frame.nonce(keys.iv_to_module, 1),
        "close": frame.close(_SESSION),
    }
    numbers = {"module": 1001, "generation": 3, "group": 7, "access_code": "4321", "card": _CARD}
    return {
        "given": numbers | {name: value.hex() for name, value in given.items()},
        "made": {name: value.hex() for name, value in made.items()},
    }
