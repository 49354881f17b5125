"""The reference page: prose from the template, every number and table from the declarations.

The prose says what an engineer must do; it holds no offset, size, code or list that a declaration could change under
it. A name in the template that is not known here, or is known and not used, stops the generation.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from construct import Struct

from protocol import access_code, layout, module, signon
from protocol.codec import Codec, Field
from protocol.fields import FIELDS, RULES, Presence
from protocol.frame import HEADER_BYTES
from protocol.numbers import (
    FLAG_NOTES,
    TERM_FLAG_NOTES,
    VERSION,
    CodePage,
    Command,
    FrameType,
    GivenReason,
    Noted,
    Reason,
    Result,
    Suite,
)
from protocol.session import TRANSITIONS, Happening
from protocol.switch import Limits

TEMPLATE: Final = Path(__file__).with_name("WIRE.template.md")

_DIRECTIONS: Final = {
    FrameType.HELLO: "to the switch",
    FrameType.WELCOME: "to the module",
    FrameType.REQUEST: "to the switch",
    FrameType.RESPONSE: "to the module",
    FrameType.CLOSE: "both",
}


def page() -> str:
    """The text of `WIRE.md`."""
    values = _values()
    template = TEMPLATE.read_text(encoding="utf-8")
    wanted = set(re.findall(r"\{\{(\w+)\}\}", template))
    if wanted != values.keys():
        raise KeyError(f"the template and the values differ: {sorted(wanted ^ values.keys())}")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], template)


def _values() -> dict[str, str]:
    limits = Limits()
    numbers = {
        "version": VERSION,
        "header_bytes": HEADER_BYTES,
        "answer_bytes": layout.RESPONSE_BYTES - Codec(layout.RESPONSE)["in_reply_to"].size,
        "request_bytes": layout.REQUEST_BYTES,
        "request_last": layout.REQUEST_BYTES - 1,
        "response_bytes": layout.RESPONSE_BYTES,
        "area_at": layout.AREA_AT,
        "root_key_bytes": signon.ROOT_KEY_BYTES,
        "group_key_bytes": signon.GROUP_KEY_BYTES,
        "module_random_bytes": signon.RANDOM_BYTES,
        "hello_bytes": layout.FRAME_BYTES[FrameType.HELLO],
        "hello_mac_last": signon.HELLO_MAC_OVER - 1,
        "welcome_clear_last": signon.WELCOME_CLEAR - 1,
        "first_request_s": f"{limits.first_request_s:g}",
        "drain_s": f"{module.DRAIN_S:g}",
        "unused_s": f"{limits.unused_s:g}",
        "frames_max": f"{limits.frames_max:,}",
        "life_s": f"{limits.life_s:,}",
        "idle_s": limits.idle_s,
        "sessions_max": limits.sessions_max,
        "offences_max": limits.offences_max,
        "outside_window": Reason.OUTSIDE_WINDOW.value,
        "code_on_repeat": Reason.CODE_ON_REPEAT.value,
        "tombstone": Reason.REVERSED_BEFORE_ARRIVAL.value,
    }
    texts = {
        "hello_info": signon.HELLO_INFO.decode(),
        "session_salt": signon.SESSION_SALT.decode(),
        "keys_info": signon.KEYS_INFO.decode(),
        "next_root_info": signon.NEXT_ROOT_INFO.decode(),
        "known_code": _known_code(),
        "header": _layout(layout.HEADER, 0),
        "hello": _layout(layout.HELLO, HEADER_BYTES),
        "identity": _layout(layout.IDENTITY, 0),
        "welcome": _layout(layout.WELCOME, HEADER_BYTES),
        "terms": _layout(layout.TERMS, 0),
        "request": _layout(layout.request(None), 0),
        "response": _layout(layout.RESPONSE, 0),
        "totals_response": _rows(_from(Codec(layout.TOTALS_RESPONSE), "count_activate"), 0),
        "areas": _areas(),
        "frames": _frames(),
        "suites": _noted(Suite, "suite"),
        "commands": _commands(),
        "flags": _table(
            ("bit", "name", "meaning"),
            ((flag.value.bit_length() - 1, _words(flag.name or ""), note) for flag, note in FLAG_NOTES.items()),
        ),
        "term_flags": _table(
            ("bit", "name", "meaning"),
            ((flag.value.bit_length() - 1, _words(flag.name or ""), note) for flag, note in TERM_FLAG_NOTES.items()),
        ),
        "given_reasons": _noted(GivenReason, "number"),
        "code_pages": _noted(CodePage, "number"),
        "fields": _fields(),
        "results": _results(),
        "states": _states(),
    }
    return {name: str(number) for name, number in numbers.items()} | texts


def _table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    names = [str(name) for name in head]
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _kind(field: Field) -> str:
    if field.form == "q":
        return "signed"
    return "bytes" if field.is_bytes else f"u{8 * field.size}"


def _rows(fields: Iterable[Field], start: int) -> str:
    return _table(
        ("at", "bytes", "type", "field", ""),
        (
            (field.at + start, field.size, _kind(field), f"`{field.name}`", field.note)
            if field.name
            else (field.at + start, field.size, "", "unused", "zero")
            for field in fields
        ),
    )


def _layout(declaration: Struct, start: int) -> str:
    return _rows(Codec(declaration).fields, start)


def _from(codec: Codec, name: str) -> list[Field]:
    return [field for field in codec.fields if field.at >= codec[name].at]


def _areas() -> str:
    pieces = []
    for commands, area in layout.areas().items():
        title = ", ".join(f"`{_words(command.name)}`" for command in commands)
        pieces.append(f"{title}\n\n{_layout(area, layout.AREA_AT)}")
    return "\n\n".join(pieces)


def _frames() -> str:
    return _table(
        ("type", "frame", "direction", "bytes in all", "`length`", "meaning"),
        (
            (
                each.value,
                each.name,
                _DIRECTIONS[each],
                layout.FRAME_BYTES[each],
                layout.FRAME_BYTES[each] - 2,
                each.note,
            )
            for each in FrameType
        ),
    )


def _noted(numbers: type[Noted], head: str) -> str:
    return _table((head, "name", "meaning"), ((each.value, _words(each.name), each.note) for each in numbers))


def _commands() -> str:
    return _table(
        ("number", "command", "meaning"), ((f"0x{each.value:02X}", _words(each.name), each.note) for each in Command)
    )


def _fields() -> str:
    def names(command: Command, presence: Presence) -> str:
        return ", ".join(_words(field) for field in FIELDS if RULES[command].presence(field) is presence)

    return _table(
        ("command", "requires", "allows"),
        (
            (_words(command.name), names(command, Presence.REQUIRED), names(command, Presence.ALLOWED))
            for command in Command
        ),
    )


def _results() -> str:
    rows: list[tuple[object, str]] = []
    for result in Result:
        rows.append((f"**{result.value:02}**", f"**{result.note}**"))
        rows += [(reason.value, reason.note) for reason in Reason if reason.result is result and reason]
    return _table(("number", "meaning"), rows)


def _states() -> str:
    return (
        _table(
            ("state", "", *(happening.name.lower() for happening in Happening)),
            (
                (
                    state.name.lower(),
                    state.value,
                    *(row[each].name.lower() if each in row else "" for each in Happening),
                )
                for state, row in TRANSITIONS.items()
            ),
        )
        + "\n\n"
        + "; ".join(f"*{each.name.lower()}*: {each.value}" for each in Happening)
        + "."
    )


def _known_code() -> str:
    key, random = "AF8CB133A78F8DC2D1359F18527593FB", "2F69ADDE2E9E7ACE"
    code, card = "1234", "4111111111111111"
    block = access_code.encode(code, card, bytes.fromhex(key), bytes.fromhex(random)).hex().upper()
    return f"key\n`{key}`, code {code}, card {card}, random\n`{random}` give `{block}`."
