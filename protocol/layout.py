"""The wire's layouts: the only truth about them that a hand has written.

Everything else about a layout (the codec, the checks of unused bytes, the reference page, the C header, the vectors)
is derived from these declarations. They are kept flat, with fixed sizes and whole numbers or bytes only, so that a
module of a few kilobytes can hold the same as C structs, and so that the length of a frame tells a listener nothing.

An unnamed `Const` is a stretch of unused bytes: sent as zero, refused if not. What stands after `*` is the note that
the reference page prints. All numbers are big-endian.
"""

from typing import Any, Final

from construct import Bytes, Const, Int8ub, Int16ub, Int32ub, Int64sb, Int64ub, Struct

from protocol.numbers import Command, FrameType, TotalsKind

TAG_BYTES: Final = 16

HEADER: Final = Struct(
    "length" / Int16ub * "bytes after this field",
    "version" / Int8ub * "1",
    "type" / Int8ub * "frame type",
    "session" / Bytes(8) * "chosen at random by the module",
    "counter" / Int64ub * "0 in HELLO, WELCOME and CLOSE",
)

HELLO: Final = Struct(
    "group" / Int32ub * "group number, one issuer's",
    "masked_identity" / Bytes(16) * "AES-ECB(Kg, identity)",
    "module_random" / Bytes(16) * "fresh",
    "share" / Bytes(32) * "X25519 public key (suite 2), zero (suite 1)",
    "mac" / Bytes(16) * "HMAC-SHA256, first 16 bytes",
)

IDENTITY: Final = Struct(
    "module" / Int32ub * "module number",
    "generation" / Int8ub * "of the root key",
    "suite" / Int8ub * "1 or 2",
    "name_random" / Bytes(10) * "fresh, so that no two masks are alike",
)

WELCOME: Final = Struct(
    "switch_random" / Bytes(16) * "fresh",
    "share" / Bytes(32) * "X25519 public key (suite 2), zero (suite 1)",
    "sealed" / Bytes(32 + TAG_BYTES) * "terms of the session, and tag",
)

TERMS: Final = Struct(
    "frames_max" / Int32ub * "requests that this session may carry",
    "life_s" / Int32ub * "seconds until it ends",
    "idle_s" / Int16ub * "seconds without a request until it ends",
    "in_flight_max" / Int16ub * "unanswered requests at one time; more are answered 91",
    "last_date" / Int32ub * "yyyymmdd of this module's last name that this process knows, 0 if none: a hint",
    "last_sequence" / Int32ub * "its sequence",
    "flags" / Int32ub * "bits, see below; bits that are not named there are sent as 0 and not looked at",
    Const(bytes(8)),
)

CLOSE: Final = Struct()

_REQUEST_HEAD: Final[tuple[Any, ...]] = (
    "command" / Int16ub * "command number",
    "flags" / Int16ub * "bits, see Flags",
    "unit" / Int16ub * "ISO 4217 number, 0x8001 visits, 0x8002 points, 0 the card's own",
    "reason" / Int16ub * "a person's reason, see Reasons given",
    "amount" / Int64ub * "minor units, < 2^63",
    "sequence" / Int32ub * "names the request with module and date; from 1, never starts again",
    "date" / Int32ub * "yyyymmdd by the module's clock",
    "time" / Int32ub * "hhmmss by the module's clock",
    "module" / Int32ub * "the session's own",
    "cashier" / Int32ub * "as the module names them",
    "card" / Bytes(20) * "ASCII digits, NUL-padded",
    "access_code_block" / Bytes(16) * "ISO 9564-1 format 4 under the session's access-code key",
    "till_receipt" / Bytes(16) * "printable ASCII, NUL-padded",
    "till_serial" / Bytes(16) * "printable ASCII, NUL-padded",
    "day_close" / Int32ub * "the till's day-close number",
    "programme" / Int32ub * "the programme that is meant, where a card has several",
    "eligible" / Int64ub * "what discounts and points may count, all ones the whole; 0 where the command forbids it",
    "original_date" / Int32ub * "the original by its name: yyyymmdd",
    "original_sequence" / Int32ub * "and sequence",
    "original_authorization" / Bytes(12) * "or by its authorization number, ASCII digits",
    Const(bytes(4)),
    "basket" / Bytes(16) * "reference of lines sent beforehand by another way",
)

REQUEST_BYTES: Final = 320
AREA_AT: Final = 160

_PAYMENT: Final[tuple[Any, ...]] = (
    "voucher_1_code" / Bytes(24) * "printable ASCII, NUL-padded",
    "voucher_1_amount" / Int64ub * "at most this is taken",
    "voucher_2_code" / Bytes(24),
    "voucher_2_amount" / Int64ub,
    "voucher_3_code" / Bytes(24),
    "voucher_3_amount" / Int64ub,
    "tender_points" / Int64ub * "how the rest is to be paid",
    "tender_stored_value" / Int64ub,
    "tender_credit" / Int64ub,
    "tender_external" / Int64ub,
)

_TOTALS: Final[tuple[Any, ...]] = (
    "first_date" / Int32ub * "the interval's first name, yyyymmdd",
    "first_sequence" / Int32ub,
    "last_date" / Int32ub * "and its last",
    "last_sequence" / Int32ub,
    *(
        field
        for kind in TotalsKind
        for field in (
            f"count_{kind.name.lower()}" / Int32ub * kind.note,
            f"sum_{kind.name.lower()}" / Int64ub,
        )
    ),
)

AREAS: Final[dict[Command, tuple[Any, ...]]] = {
    Command.PAGE: ("page" / Int8ub * "from 1",),
    Command.CHANGE_ACCESS_CODE: ("new_access_code_block" / Bytes(16) * "ISO 9564-1 format 4, for the same card",),
    Command.REPLACE: ("new_card" / Bytes(20) * "ASCII digits, NUL-padded",),
    Command.TOTALS: _TOTALS,
    Command.PURCHASE: _PAYMENT,
    Command.QUOTE: _PAYMENT,
    Command.VOUCHER_CHECK: _PAYMENT,
    Command.VOUCHER_ACTIVATE: _PAYMENT,
    Command.VOUCHER_REDEEM: _PAYMENT,
    Command.FREEZE: (
        "freeze_from" / Int32ub * "yyyymmdd",
        "freeze_to" / Int32ub * "yyyymmdd, not before; 0: the pass goes on again on the first",
    ),
    Command.LIMIT: ("limit" / Int64ub * "minor units, 0 none",),
}


def areas() -> dict[tuple[Command, ...], Struct]:
    """The declarations of the areas, each once, by the commands that share it."""
    return {
        tuple(command for command, area in AREAS.items() if area is shared): Struct(*shared)
        for shared in AREAS.values()
    }


def request(command: Command | None) -> Struct:
    """The declaration of a command's request, 320 bytes; without a command, of what all have in common."""
    if command is None:
        return Struct(*_REQUEST_HEAD, "area" / Bytes(REQUEST_BYTES - AREA_AT) * "by command")
    area = Struct(*AREAS.get(command, ()))
    return Struct(*_REQUEST_HEAD, *area.subcons, Const(bytes(REQUEST_BYTES - AREA_AT - area.sizeof())))


VOUCHER_BYTES: Final = 24

_ANSWER_HEAD: Final[tuple[Any, ...]] = (
    "in_reply_to" / Int64ub * "counter of the REQUEST that this answers; not part of the recorded answer",
    "command" / Int16ub * "echoed, as are the next four; see below",
    "flags" / Int16ub,
    "sequence" / Int32ub,
    "date" / Int32ub,
    "module" / Int32ub,
    "result" / Int16ub * "00 to 99",
    "reason" / Int16ub * "finer, 0 none",
    "unit" / Int16ub * "of the amounts",
    "pages" / Int8ub * "how many pages the receipt has",
    "page" / Int8ub * "which this is, from 1",
    "authorization" / Bytes(12) * "12 ASCII digits, or NUL if nothing was recorded",
    "switch_date" / Int32ub * "yyyymmdd in the issuer's zone",
    "switch_time" / Int32ub * "hhmmss",
    Const(bytes(4)),
    "approved" / Int64sb * "minor units, as are all that follow",
    "still_due" / Int64sb * "what is left to pay by other means",
    "balance" / Int64sb * "after this",
    "available" / Int64sb * "of it, not held",
    "discount" / Int64sb,
    "points_earned" / Int64sb,
    "points_balance" / Int64sb,
    "visits_left" / Int32ub,
    "valid_until" / Int32ub * "yyyymmdd, 0 none",
    "issued_voucher_1" / Bytes(VOUCHER_BYTES) * "printable ASCII, NUL-padded",
    "issued_voucher_2" / Bytes(VOUCHER_BYTES),
    "text_length" / Int16ub * "bytes of receipt text on this page",
    "code_page" / Int8ub * "see Code pages",
    "columns" / Int8ub * "width that the text was laid out for",
    "last_sequence" / Int32ub * "echo: the last recorded name of this module",
    "taken_points" / Int64ub * "what was taken from where",
    "taken_stored_value" / Int64ub,
    "taken_credit" / Int64ub,
    "taken_voucher_1" / Int64ub,
    "taken_voucher_2" / Int64ub,
    "taken_voucher_3" / Int64ub,
    "last_date" / Int32ub * "echo: yyyymmdd of that name",
    Const(bytes(4)),
)

RESPONSE_BYTES: Final = 1408
TEXT_BYTES: Final = 1176  # 24 lines of 48 and a line feed
TOTALS_TEXT_BYTES: Final = TEXT_BYTES - Struct(*_TOTALS[4:]).sizeof()  # behind the ten pairs

RESPONSE: Final = Struct(*_ANSWER_HEAD, "text" / Bytes(TEXT_BYTES) * "receipt text, lines ended by a line feed")
TOTALS_RESPONSE: Final = Struct(
    *_ANSWER_HEAD,
    *_TOTALS[4:],
    "text" / Bytes(TOTALS_TEXT_BYTES) * "receipt text, lines ended by a line feed",
)

FRAME_BYTES: Final = {
    FrameType.HELLO: HEADER.sizeof() + HELLO.sizeof(),
    FrameType.WELCOME: HEADER.sizeof() + WELCOME.sizeof(),
    FrameType.REQUEST: HEADER.sizeof() + REQUEST_BYTES + TAG_BYTES,
    FrameType.RESPONSE: HEADER.sizeof() + RESPONSE_BYTES + TAG_BYTES,
    FrameType.CLOSE: HEADER.sizeof(),
}
