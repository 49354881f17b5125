"""Every number of the wire that has a name: the closed sets.

The numbers are for ever: one may be added, none may change its meaning or be used again, because recorded answers and
programs in the field carry them. Each member brings its own note, from which the reference page is written, so that
number, name and meaning cannot drift apart.
"""

from enum import IntEnum, IntFlag
from typing import Final, Self

VERSION: Final = 1
WHOLE: Final = 2**64 - 1  # `eligible`: the whole amount counts
AMOUNT_END: Final = 2**63  # amounts are smaller, so that they fit a signed column
SEQUENCE_END: Final = 2**32

OWN: Final = 0  # units: the card's own
VISIT: Final = 0x8001
POINT: Final = 0x8002
CURRENCY_MAX: Final = 999  # ISO 4217 numbers have three digits


def is_unit(number: int) -> bool:
    """Whether a number can name a unit: the card's own, a currency by its ISO 4217 number, visits or points."""
    return 0 <= number <= CURRENCY_MAX or number in (VISIT, POINT)


class Noted(IntEnum):
    """An enumeration whose members carry the note that the reference page prints."""

    note: str

    __hash__ = int.__hash__  # that of an enumeration is a call; a request looks many members up

    def __new__(cls, value: int, note: str = "") -> Self:
        """Make a member of its number and note; the note is left out when a member is looked up."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.note = note
        return member


class FrameType(Noted):
    """The five frames."""

    HELLO = 1, "a module asks for a session"
    WELCOME = 2, "the switch opens it"
    REQUEST = 3, "one request, sealed"
    RESPONSE = 4, "one answer, sealed"
    CLOSE = 5, "this session is over: unauthenticated, a hint to sign on again after a back-off"


class Suite(Noted):
    """How a session's keys are agreed; pinned in the module's record, never negotiated."""

    SHARED_KEY = 1, "pre-shared key"
    SHARED_KEY_X25519 = 2, "pre-shared key and X25519: what was recorded stays closed when the key leaks later"


class Command(Noted):
    """What a module can ask."""

    ECHO = 0x01, "proves the session, answers the last name that the switch has recorded; not recorded"
    PAGE = 0x02, "a further page of a recorded answer's receipt; not recorded"
    BALANCE = 0x10, "what the card has and what is available"
    ACTIVATE = 0x11, "the card is sold and becomes active, with a first load if the programme has one"
    RELOAD = 0x12, "value is put on the card"
    SALE = 0x13, "value is taken from the card at once"
    HOLD = 0x14, "value is reserved, not moved"
    CONFIRM = 0x15, "a hold is taken, up to its amount; the rest is released"
    RELEASE = 0x16, "a hold is given up"
    REFUND = 0x17, "goods come back: value returns, up to what is left of the original"
    REVERSE = 0x18, "an earlier request is undone, whole, whether it has arrived or not"
    PAYMENT = 0x19, "the holder pays what a local credit card owes"
    VISIT = 0x1A, "one entry on a pass"
    CASH_OUT = 0x1B, "the whole balance is paid out and the card is closed"
    BLOCK = 0x1C, "the card is refused until it is unblocked"
    UNBLOCK = 0x1D, "a blocked card is served again"
    CHANGE_ACCESS_CODE = 0x1E, "the holder chooses a new access code"
    REPLACE = 0x1F, "a new number points to the same card, the old number is dead"
    TOTALS = 0x20, "the module's counts and sums are compared with the switch's"
    REPRINT = 0x21, "the receipt of an earlier request once more, marked as a copy"
    PURCHASE = 0x30, "a basket with vouchers and several tenders; reserved"
    QUOTE = 0x31, "what a purchase would cost, nothing moves; reserved"
    REGISTER = 0x32, "a card is bound to a client; reserved"
    VOUCHER_CHECK = 0x40, "whether vouchers could be used; reserved"
    VOUCHER_ACTIVATE = 0x41, "vouchers become active; reserved"
    VOUCHER_REDEEM = 0x42, "vouchers are used; reserved"
    ADJUST = 0x50, "a desk corrects a balance; reserved"
    FREEZE = 0x51, "a desk lets a pass stand still for days, or go on again"
    LIMIT = 0x52, "a desk sets a credit limit"
    RESET_TRIES = 0x53, "a desk clears the counted tries"


class Flag(IntFlag):
    """The bits of a request's flags."""

    REPEAT = 1
    OFFLINE = 2
    PARTIAL = 4
    ACCESS_CODE = 8
    KEYED = 16


FLAG_NOTES: Final = {
    Flag.REPEAT: "this name was sent before and no final answer came",
    Flag.OFFLINE: "offline advice: refused with 30 until it is built",
    Flag.PARTIAL: "the module can take a part of the amount (answer 10)",
    Flag.ACCESS_CODE: "the access-code block is there",
    Flag.KEYED: "the card number was keyed by hand",
}
KNOWN_FLAGS: Final = sum(flag.value for flag in FLAG_NOTES)


class TermFlag(IntFlag):
    """The bits of the flags of WELCOME's terms."""

    NEXT_ROOT = 1


TERM_FLAG_NOTES: Final = {TermFlag.NEXT_ROOT: "take the next root key from this session, see Changing the root key"}


class GivenReason(Noted):
    """Why a person blocks, unblocks, reverses or adjusts; 0 says nothing."""

    NONE = 0, "none given"
    LOST = 1, "the card was lost"
    STOLEN = 2, "the card was stolen"
    DAMAGED = 3, "the card cannot be read"
    HOLDER = 4, "the holder asked for it"
    MISTAKE = 5, "a mistake at the till"
    NO_ANSWER = 6, "no final answer came in time"
    SUSPICION = 7, "suspected fraud"
    FOUND = 8, "a lost card was found"
    GOODWILL = 9, "a gift of the issuer"
    CORRECTION = 10, "a correction of the books"


class TotalsKind(Noted):
    """The ten kinds that `totals` counts, in the order of their pairs."""

    ACTIVATE = 0, "activations"
    RELOAD = 1, "reloads"
    SALE = 2, "sales"
    CONFIRM = 3, "confirmed holds"
    REFUND = 4, "refunds"
    REVERSE = 5, "reversals"
    PAYMENT = 6, "payments"
    VISIT = 7, "visits"
    CASH_OUT = 8, "cash-outs"
    OTHER = 9, "all others"


def totals_kind(command: int) -> TotalsKind:
    """The kind in which totals count a command."""
    return _TOTALS_KINDS.get(command, TotalsKind.OTHER)


_TOTALS_KINDS: Final[dict[int, TotalsKind]] = {
    Command[kind.name]: kind for kind in TotalsKind if kind is not TotalsKind.OTHER
}


class CodePage(Noted):
    """How the bytes of a receipt's text are to be read."""

    ASCII = 0, "ASCII"
    CP775 = 1, "code page 775 (Baltic)"
    CP1257 = 2, "Windows 1257 (Baltic)"
    CP852 = 3, "code page 852 (Central Europe)"
    CP1250 = 4, "Windows 1250 (Central Europe)"
    CP866 = 5, "code page 866 (Cyrillic)"
    CP855 = 6, "code page 855 (Cyrillic)"
    CP1251 = 7, "Windows 1251 (Cyrillic)"


class Result(Noted):
    """The two digits of an answer, after ISO 8583 data element 39."""

    APPROVED = 0, "approved"
    PARTLY = 10, "approved for a part: see approved and still due"
    INVALID = 12, "invalid transaction"
    AMOUNT = 13, "amount"
    CARD = 14, "card"
    ORIGINAL = 25, "original not found"
    FORMAT = 30, "format"
    LOST = 41, "lost card"
    STOLEN = 43, "stolen card"
    FUNDS = 51, "not enough funds"
    EXPIRED = 54, "expired card"
    ACCESS_CODE = 55, "access code wrong, or needed and absent"
    NOT_FOR_CARD = 57, "not permitted to the card"
    NOT_FOR_MODULE = 58, "not permitted to the module"
    AMOUNT_LIMIT = 61, "amount limit"
    RESTRICTED = 62, "restricted card"
    COUNT_LIMIT = 65, "count limit"
    TRIES = 75, "access code tried too often"
    UNAVAILABLE = 91, "unavailable: not final, this copy did nothing"
    DUPLICATE = 94, "this name was used with other content"
    TOTALS_DIFFER = 95, "totals differ"
    MALFUNCTION = 96, "malfunction: not final, this copy did nothing"


class Reason(Noted):
    """The finer reason beside a result; its number begins with the result that it refines."""

    NONE = 0, "nothing to add"
    NOTHING_MOVED = 1, "reversed: the original had moved nothing"
    TOMBSTONE = 2, "reversed before the original has arrived: it will be declined when it comes"
    AGAIN = 3, "was reversed already"
    SAME_VISIT = 4, "still the same visit: nothing was taken"
    CODE_STAYS = 5, "replaced: the access code stays that of the old card"
    THAWED = 6, "the freeze of the pass is over"
    REFROZEN = 7, "this freeze takes the place of an earlier one"

    UNIT_DIFFERS = 1201, "the unit is not the card's or the original's"
    ORIGINAL_AMOUNT_DIFFERS = 1202, "the amount is not the original's"
    NOT_REVERSIBLE = 1203, "such a request cannot be reversed"
    REFUNDED = 1204, "refunds of the original stand"
    ALREADY_REVERSED = 1205, "the original is reversed"
    NOT_REFUNDABLE = 1206, "such a request cannot be refunded"
    REFUND_ABOVE_ORIGINAL = 1207, "more than what is left of the original"
    CARD_DIFFERS = 1208, "the card is not the original's"
    REVERSED_BEFORE_ARRIVAL = 1209, "was reversed before it arrived"
    ORIGINAL_DECLINED = 1210, "the original was declined"
    NOT_BUILT = 1211, "a known command that this switch does not serve yet"
    PROGRAMME_DIFFERS = 1212, "the programme is not the card's"
    NOT_A_HOLD = 1213, "the original is no hold"
    HOLD_CONFIRMED = 1214, "the hold was confirmed"
    HOLD_RELEASED = 1215, "the hold was given up"
    HOLD_EXPIRED = 1216, "the hold was not confirmed in time"
    NOT_BLOCKED = 1217, "the card is not blocked"
    OWES = 1218, "the card owes"
    FREEZE_DAYS = 1219, "the pass cannot be frozen on these days"
    INTERVAL = 1220, "the interval is too long to be counted"

    AMOUNT_ZERO = 1301, "the amount is 0"
    AMOUNT_TOO_LARGE = 1302, "an amount of 2^63 or more"
    ABOVE_HOLD = 1303, "more than is held"
    AMOUNT_FIXED = 1304, "the programme sets this amount: send 0 or the same"

    UNKNOWN_CARD = 1401, "no such card"
    REPLACED = 1402, "this number was replaced by another"
    NEW_CARD_UNKNOWN = 1403, "no such new card"
    NEW_CARD_IN_USE = 1404, "the new card is not a new one"

    ORIGINAL_UNKNOWN = 2501, "no such authorization"

    UNKNOWN_COMMAND = 3001, "unknown command"
    UNKNOWN_FLAG = 3002, "unknown flag"
    UNKNOWN_UNIT = 3003, "unknown unit"
    FIELD_MISSING = 3004, "a field that the command requires is absent"
    FIELD_FORBIDDEN = 3005, "a field or unused byte that the command forbids is set"
    NOT_DIGITS = 3006, "not digits"
    BAD_TIME = 3007, "not a time of day"
    TWO_ORIGINALS = 3008, "the original is given by name and by number"
    BAD_DATE = 3009, "not a date of the calendar"
    BAD_SEQUENCE = 3010, "sequence 0, or an interval that runs backwards"
    OFFLINE_ADVICE = 3011, "offline advice is not served yet"
    OUTSIDE_WINDOW = 3012, "the date is too far from today"
    BAD_TEXT = 3013, "not printable ASCII, padded with NUL"
    UNKNOWN_REASON = 3014, "unknown reason given"
    BAD_NEW_CODE = 3015, "the new access code cannot be read"

    LOST = 4101, "the card was reported lost"

    STOLEN = 4301, "the card was reported stolen"

    FUNDS = 5101, "not enough"
    HELD = 5102, "not enough because a part is held"
    VISITS_USED = 5103, "not so many visits are left"

    EXPIRED = 5401, "the card has expired"

    WRONG_CODE = 5501, "wrong access code, or no such card"
    CODE_MISSING = 5502, "an access code is needed"
    CODE_ON_REPEAT = 5503, "a repeat without access code whose original never arrived; not counted as a try"

    NOT_ACTIVE = 5701, "the card is not active"
    ALREADY_ACTIVE = 5702, "the card is active already"
    NOT_RELOADABLE = 5703, "the programme has no reload"
    CLOSED = 5704, "the card is closed"
    NOT_PROGRAMME = 5705, "the programme does not have this command"
    OPEN_HOLDS = 5706, "holds of the card are open"

    FOREIGN_MODULE = 5801, "the module number is not the session's"
    FOREIGN_ORIGINAL = 5802, "the original is another module's"
    BAD_CARDS_BUDGET = 5803, "too many bad cards from this module"
    BRANCH = 5804, "not at this branch"
    COMMAND = 5805, "this module may not ask that"

    ABOVE_LIMIT = 6101, "above the programme's limit"
    BELOW_LIMIT = 6102, "below the programme's limit"
    BALANCE_LIMIT = 6103, "the balance would pass its limit"
    CREDIT_LIMIT = 6104, "above the highest limit of the programme"
    FREEZE_LIMIT = 6105, "more days than the programme freezes"
    SPEND_PER_DAY = 6106, "the card would spend more today than it may"

    BLOCKED = 6201, "the card is blocked"
    FROZEN = 6202, "the pass is frozen today"
    OVERDUE = 6203, "a payment is overdue"

    LOADS_PER_DAY = 6501, "too many loads today"
    VISITS_PER_DAY = 6502, "too many visits today"
    SALES_PER_DAY = 6503, "too many purchases today"

    LOCKED = 7501, "the access code was tried too often"

    OVERLOADED = 9101, "too much to do"
    NO_DATABASE = 9102, "no database"
    TOO_LATE = 9103, "waited too long in the switch"
    DRAINING = 9104, "the switch is going down"

    OTHER_CONTENT = 9401, "this name was used with other content"

    TOTALS_DIFFER = 9501, "the module counted otherwise than the switch"

    BAD_REQUEST = 9601, "this request makes the switch fail"

    @property
    def result(self) -> Result:
        """The result that this reason refines."""
        return Result(self // 100)
