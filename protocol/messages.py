"""Requests and answers: what other packages use of them, in one place."""

from protocol.forms import FormatError, calendar_date, date_number
from protocol.request import (
    Envelope,
    Freeze,
    OriginalName,
    Request,
    RequestName,
    Tenders,
    Totals,
    Voucher,
    decode_request,
    identity_bytes,
    read_envelope,
)
from protocol.response import Response, Taken, pack_answer, result_of

__all__ = [
    "Envelope",
    "FormatError",
    "Freeze",
    "OriginalName",
    "Request",
    "RequestName",
    "Response",
    "Taken",
    "Tenders",
    "Totals",
    "Voucher",
    "calendar_date",
    "date_number",
    "decode_request",
    "identity_bytes",
    "pack_answer",
    "read_envelope",
    "result_of",
]
