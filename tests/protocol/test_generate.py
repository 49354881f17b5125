"""What is generated is current, true, and enough to write a module with."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from protocol import c_header, generate, reference
from protocol.access_code import decode
from protocol.crypto import BlockCipher
from protocol.messages import FormatError, Response, decode_request
from protocol.module import ModuleConnection, ResponseReceived, Welcomed
from protocol.numbers import Command, Flag, GivenReason, Reason, Result, Suite
from protocol.signon import ModuleIdentity

VECTORS = json.loads((generate.HERE / "vectors" / "vectors.json").read_text())
PAGE = (generate.HERE / "WIRE.md").read_text()
SUITES = pytest.mark.parametrize("suite", Suite, ids=lambda suite: f"suite {suite.value}")


def test_current() -> None:
    """The committed page, header and known answers are what the declarations give."""
    assert generate.stale(generate.artefacts()) == []


def test_stale(tmp_path: Path) -> None:
    """A file that is absent, or that somebody has edited, is found."""
    edited, absent, good = tmp_path / "edited", tmp_path / "absent", tmp_path / "good"
    edited.write_text("by hand")
    good.write_text("generated")
    assert generate.stale(dict.fromkeys((edited, absent, good), "generated")) == [edited, absent]


@pytest.mark.parametrize(
    "row",
    [
        "| 88 | 16 | bytes | `mac` |",
        "| 36 | 20 | bytes | `card` |",
        "| 56 | 16 | bytes | `access_code_block` |",
        "| 104 | 4 | u32 | `day_close` |",
        "| 112 | 8 | u64 | `eligible` |",
        "| 128 | 12 | bytes | `original_authorization` |",
        "| 144 | 16 | bytes | `basket` |",
        "| 256 | 8 | u64 | `tender_points` |",
        "| 24 | 2 | u16 | `result` |",
        "| 32 | 12 | bytes | `authorization` |",
        "| 112 | 4 | u32 | `visits_left` |",
        "| 168 | 2 | u16 | `text_length` |",
        "| 224 | 4 | u32 | `last_date` |",
        "| 232 | 1176 | bytes | `text` |",
        "| 352 | 1056 | bytes | `text` |",
        "| 5 | CLOSE | both | 20 | 18 |",
        "| 4 | RESPONSE | to the module | 1444 | 1442 |",
    ],
)
def test_page_has_the_offsets_of_the_wire(row: str) -> None:
    """Offsets and sizes on the page are those that the wire was agreed with."""
    assert row in PAGE


def test_page_names_everything() -> None:
    """Every command, flag, result and reason has its line, with a meaning."""
    for command in Command:
        assert re.search(rf"\| 0x{command.value:02X} \| [a-z ]+ \| \S+", PAGE)
    for result in Result:
        assert f"| **{result.value:02}** | **{result.note}** |" in PAGE
    for reason in Reason:
        assert not reason or f"| {reason.value} | {reason.note} |" in PAGE
    for flag in Flag:
        assert f"| {flag.value.bit_length() - 1} | {(flag.name or '').lower().replace('_', ' ')} |" in PAGE
    assert all(each.note for each in (*Command, *Result, *Reason, *GivenReason))
    assert "{{" not in PAGE


def test_template_and_values_agree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A name in the template that nothing fills stops the generation."""
    template = tmp_path / "template.md"
    template.write_text(reference.TEMPLATE.read_text() + "{{unheard_of}}")
    monkeypatch.setattr(reference, "TEMPLATE", template)
    with pytest.raises(KeyError, match="unheard_of"):
        reference.page()


@pytest.mark.parametrize("command", Command)
def test_request_vectors(command: Command) -> None:
    """The known request of each command is well-formed, and is that command."""
    vector = VECTORS["requests"][command.name.lower()]
    assert decode_request(bytes.fromhex(vector["plain"])).command is command
    assert vector["fields"]["command"] == command.value


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["case"])
def test_refused_vectors(vector: dict[str, Any]) -> None:
    """The refused requests are refused for the reason that stands beside them."""
    with pytest.raises(FormatError) as caught:
        decode_request(bytes.fromhex(vector["plain"]))
    assert (caught.value.reason, caught.value.field) == (vector["reason"], vector["field"])


@SUITES
def test_session_vectors(suite: Suite) -> None:
    """A module that is given a vector's inputs writes its frames and reads its answer."""
    session = VECTORS["sessions"][str(suite.value)]
    given, made = session["given"], {name: bytes.fromhex(value) for name, value in session["made"].items()}
    names = ["session", "name_random", "module_random", "module_private"]
    chunks = [bytes.fromhex(given[name]) for name in names]
    here = ModuleConnection(lambda size: chunks.pop(0)[:size])
    who = ModuleIdentity.from_json(given | {"suite": suite.value})
    assert here.hello(who, 0.0) == made["hello"]
    (welcomed,) = here.receive(made["welcome"], 0.0)
    assert isinstance(welcomed, Welcomed)
    assert here.request(welcomed.session, made["echo_plain"], 0.0) == (0, made["echo_frame"])
    assert here.request(welcomed.session, made["request_plain"], 0.0) == (1, made["request_frame"])
    (received,) = here.receive(made["response_frame"], 0.0)
    assert isinstance(received, ResponseReceived)
    assert (received.counter, received.answer) == (1, made["response_plain"][8:])
    assert Response.decode(received.answer).text == b"APPROVED\n"
    assert (
        decode(made["access_code_block"], given["card"], BlockCipher(made["key_access_code"])) == given["access_code"]
    )


PROGRAM = """\
#include "authsrv_wire.h"
#include <stdio.h>
#include <string.h>

int main(void)
{
    uint8_t frame[AUTHSRV_REQUEST_FRAME_BYTES - AUTHSRV_TAG_BYTES] = {0};
    struct authsrv_header *header = (struct authsrv_header *)frame;
    struct authsrv_request *request = (struct authsrv_request *)(frame + sizeof *header);
    authsrv_put(request->command, sizeof request->command, AUTHSRV_COMMAND_SALE);
    authsrv_put(request->flags, sizeof request->flags, AUTHSRV_FLAG_PARTIAL | AUTHSRV_FLAG_KEYED);
    authsrv_put(request->unit, sizeof request->unit, 978);
    authsrv_put(request->amount, sizeof request->amount, 1750);
    authsrv_put(request->sequence, sizeof request->sequence, 78);
    authsrv_put(request->date, sizeof request->date, 20261201);
    authsrv_put(request->time, sizeof request->time, 93005);
    authsrv_put(request->module, sizeof request->module, 1001);
    authsrv_put(request->cashier, sizeof request->cashier, 5);
    authsrv_put(request->eligible, sizeof request->eligible, AUTHSRV_WHOLE);
    memcpy(request->card, "6371120000000000017", 19);
    if (authsrv_get(request->amount, sizeof request->amount) != 1750)
        return 1;
    for (size_t at = sizeof *header; at < sizeof frame; at++)
        printf("%02x", frame[at]);
    return 0;
}
"""


@pytest.mark.system
def test_header_compiles_and_writes_a_request(tmp_path: Path) -> None:
    """The header compiles without a warning as C11, its own assertions hold, and a C program writes the known sale."""
    (tmp_path / "sale.c").write_text(PROGRAM)
    flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{generate.HERE}"]
    subprocess.run(["gcc", *flags, "sale.c", "-o", "sale"], cwd=tmp_path, check=True)
    written = subprocess.run(["./sale"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert written == VECTORS["requests"]["sale"]["plain"]


@pytest.mark.system
def test_header_notices_a_wrong_offset(tmp_path: Path) -> None:
    """The assertions in the header do check: with one field a byte longer it does not compile."""
    broken = c_header.text().replace("uint8_t card[20];", "uint8_t card[21];")
    (tmp_path / "broken.h").write_text(broken)
    done = subprocess.run(["gcc", "-std=c11", "-fsyntax-only", "-x", "c", "broken.h"], cwd=tmp_path, check=False)
    assert done.returncode != 0
