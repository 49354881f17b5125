"""A request as a lane takes it: everything that can be known of it without the database.

Read first is only what finds a record: frame, module, calendar date. A request that fails there has no usable name; its
answer is final and not recorded. What else is wrong with it is kept as a FormatError, since a repeat of it must find
its record before anybody judges it again (law 1).
"""

from typing import Final

from authsrv.keys import CARD_BYTES, KeyRing
from ledger.batch import Lookup
from ledger.names import Name, read_authorization_number
from ledger.totals import Interval
from protocol import access_code, forms
from protocol.crypto import BlockCipher
from protocol.messages import (
    Envelope,
    FormatError,
    OriginalName,
    Request,
    decode_request,
    identity_bytes,
    read_envelope,
)
from protocol.numbers import Command, Reason

_NO_CARD: Final = bytes(CARD_BYTES)


class Ask:
    """One request with a usable name."""

    def __init__(
        self,
        name: Name,
        envelope: Envelope,
        plain: bytes,
        request: Request | FormatError,
        token: bytes | None,
        code_came: bool,
        code: str | None,
        new_code: str | None,
        new_token: bytes | None,
        token_key: int,
        digest: bytes,
        digest_key: int,
    ):
        self.name: Final = name
        self.envelope: Final = envelope
        self.plain: Final = plain
        self.request: Final = request
        self.token: Final = token  # None: no card is named
        self.code_came: Final = code_came
        self.code: Final = code  # the digits; None where none came or the block was malformed
        self.new_code: Final = new_code  # the digits that a code is changed to, in the same way
        self.new_token: Final = new_token  # of the number that takes the card's place
        self.token_key: Final = token_key  # the version that the tokens were made under
        self.digest: Final = digest  # of what was asked; made early, as others wait for a card while a batch is decided
        self.digest_key: Final = digest_key  # the version that it was made under

    def __repr__(self) -> str:
        return f"<Ask {self.envelope!r}>"

    def under(self, ring: KeyRing) -> "Ask":
        """The same by the keys of this ring, for one that waited while the key of card numbers was changed."""
        token = ring.token(self.envelope.card) if self.token is not None else None
        new_token = None
        if self.new_token is not None and isinstance(self.request, Request):
            new_token = _token_of(self.request.new_card, ring)
        return Ask(
            self.name, self.envelope, self.plain, self.request, token, self.code_came, self.code, self.new_code,
            new_token, ring.token_key, _digest(self.plain, token, ring, ring.digest_key), ring.digest_key,
        )  # fmt: skip

    def lookup(self) -> Lookup:
        """What the database is to look up and lock for it."""
        request = self.request
        if isinstance(request, FormatError):
            return Lookup(self.name, None, with_code=False, original=None, original_number=None)
        original = request.original
        if original is None:  # so it is no reversal, and `shown` is the token
            return Lookup(self.name, self.token, self.code_came, None, None, self.new_token, self.interval)
        number = read_authorization_number(original) if isinstance(original, str) else None
        return Lookup(self.name, self.shown, self.code_came, self.original, number)

    @property
    def command(self) -> Command | None:
        """What is asked; None for what breaks a rule of its form."""
        return None if isinstance(self.request, FormatError) else self.request.command

    @property
    def interval(self) -> Interval | None:
        """What is to be counted; None where nothing is, or more than can be."""
        if self.command is not Command.TOTALS or isinstance(self.request, FormatError) or self.request.totals is None:
            return None
        first, last = self.request.totals.first, self.request.totals.last
        dates = sorted((first.date, last.date))
        interval = Interval(self.name.module, self.request.unit, first.sequence, last.sequence, *dates)
        return interval if interval.countable else None

    @property
    def shown(self) -> bytes | None:
        """The token of the card at hand; none for a reversal, whose card is its original's whatever it names itself."""
        return None if self.command is Command.REVERSE else self.token

    @property
    def original(self) -> Name | None:
        """The original that is given by its name, one of the same module."""
        named = None if isinstance(self.request, FormatError) else self.request.original
        return Name(self.name.module, named.date, named.sequence) if isinstance(named, OriginalName) else None


def open_ask(plain: bytes, module: int, code_cipher: BlockCipher, ring: KeyRing) -> tuple[Envelope, Ask | Reason]:
    """Read a request that came over a session of `module`: what it asks, or why it has no usable name.

    Args:
        plain: the 320 opened bytes.
        module: the number that the session signed on with.
        code_cipher: that of the session's key for access-code blocks.
        ring: the issuer's keys.

    """
    envelope = read_envelope(plain)
    if envelope.module != module:
        return envelope, Reason.FOREIGN_MODULE
    try:
        name = Name(module, forms.date(envelope.date, "date"), forms.sequence(envelope.sequence, "sequence"))
    except FormatError as error:
        return envelope, error.reason
    token = ring.token(envelope.card) if envelope.card != _NO_CARD else None
    code_came, code, new_code, new_token = False, None, None, None
    request: Request | FormatError
    try:
        request = decode_request(plain, envelope)
    except FormatError as error:
        request = error
    else:
        if request.access_code_block is not None:
            code_came = True
            code = access_code.decode(request.access_code_block, request.card, code_cipher)
        if request.new_access_code_block is not None:
            new_code = access_code.decode(request.new_access_code_block, request.card, code_cipher)
        if request.new_card:
            new_token = _token_of(request.new_card, ring)
    digest = _digest(plain, token, ring, ring.digest_key)
    return envelope, Ask(
        name, envelope, plain, request, token, code_came, code, new_code, new_token, ring.token_key, digest,
        ring.digest_key,
    )  # fmt: skip


def _token_of(number: str, ring: KeyRing) -> bytes:
    return ring.token(number.encode().ljust(CARD_BYTES, b"\0"))


def same_content(ask: Ask, ring: KeyRing, token_key: int, digest_key: int) -> bytes:
    """The keyed digest of what was asked, under the key versions of the row that it stands in or goes into."""
    if token_key == ask.token_key and digest_key == ask.digest_key:
        return ask.digest
    token = ask.token
    if token is not None and token_key != ask.token_key:
        token = ring.token(ask.envelope.card, token_key)
    return _digest(ask.plain, token, ring, digest_key)


def _digest(plain: bytes, token: bytes | None, ring: KeyRing, key: int) -> bytes:
    return ring.digest(identity_bytes(plain, token or b""), key)
