"""The command line: every command's help and shape, an issuer set up by commands alone, and what is refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest
import trio
import typer.main
from typer.testing import CliRunner

import loyalty
from authsrv.shell.cli import app
from authsrv.shell.desk import Act, Operator, carry_out
from authsrv.shell.key_file import make_key_file
from authsrv.shell.settings import NAMES, Settings
from ledger.names import luhn_digit
from protocol.crypto import check_value
from protocol.numbers import Command
from protocol.signon import ModuleIdentity
from terminal.kit import Kit, KitError
from terminal.shell.cli import app as terminal_app

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Issuer, Server

GIFT = Path(loyalty.__file__).parent / "programmes" / "gift.toml"


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """All commands below a command, with the words that call them."""
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name, each in below.items():
        yield from leaves(each, (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in ("CONFIG", "KEK", *map(str.upper, NAMES)):
        monkeypatch.delenv(f"AUTHSRV_{name}", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


class Desk:
    """A person at the command line of one issuer."""

    def __init__(self, *place: str) -> None:
        self.place = place

    def run(self, *words: str, typed: str = "") -> tuple[int, str, str]:
        """Run a command: exit code, what was printed, what was complained of."""
        done = CliRunner().invoke(app, [*words, *self.place], input=typed)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    def ask(self, *words: str, typed: str = "") -> Any:
        """The JSON that a command prints when it goes well."""
        code, out, complaint = self.run(*words, "--json", typed=typed)
        assert (code, complaint if words[0] != "seed" else "") == (0, "")
        return json.loads(out)

    def refused(self, *words: str, typed: str = "") -> str:
        """The one line that a command ends with when it is refused."""
        code, out, complaint = self.run(*words, typed=typed)
        assert (code, out, complaint.count("\n")) == (1, "", 1)
        return complaint


@pytest.fixture
def desk(issuer: Issuer, tmp_path: Path) -> Desk:
    """A desk at a migrated schema with a key-encryption key, and nothing set up in it."""
    make_key_file(tmp_path / "kek", bytes(range(32)))
    return Desk("--database", issuer.owner_dsn, "--key-file", str(tmp_path / "kek"))


@pytest.fixture
def opened(desk: Desk, issuer: Issuer) -> Desk:
    """The same with an issuer, keys, a branch and the gift programme."""
    as_admin(issuer, "select issuer.set_issuer(7, 'Corner Shop', 'Europe/Riga', 978, 'EUR', 2::smallint, 70)")
    desk.ask("keys", "init")
    desk.ask("branch", "add", "--number", "1", "--name", "Centre")
    desk.ask("programme", "load", str(GIFT))
    return desk


def test_the_first_issuer_of_the_readme(
    desk: Desk, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of it is a command that does what it says, in that order; the first and the last one are known here."""
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    lines = [
        shlex.split(line.replace(" --data-dir data", ""))
        for line in re.findall(r"^authsrv (.+)$", readme, re.MULTILINE)
    ]
    begin, *between, end = lines
    assert begin[:2] == ["db", "init"]
    assert {word for word in begin if word.startswith("--")} <= {
        option for each in COMMANDS["db", "init"].params for option in each.opts
    }
    assert end == ["serve"]
    as_admin(issuer, "select issuer.set_issuer(1, 'Kafija SIA', 'Europe/Riga', 978, 'EUR', 2::smallint, 1)")
    (tmp_path / "loyalty").symlink_to(GIFT.parents[1])
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for words in between:
        desk.ask(*words)
    assert as_admin(issuer, "select count(*) from issuer.cards") == 30
    for kind in ("gift", "visits", "credit"):
        [held] = [each for each in between if each[:3] == ["card", "issue", kind]]
        assert Kit.read(Path(held[held.index("--kit") + 1]).read_text()).cards
    assert (tmp_path / "data" / "till.json").exists()


def as_admin(issuer: Issuer, sql: str) -> Any:
    """One value from the database, whoever may see it."""

    async def ask() -> Any:
        connection = await asyncpg.connect(issuer.admin_dsn)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    """Help with an example that calls this command, the shape of its JSON, and what each option is for."""
    shown = CliRunner().invoke(app, [*path, "--help"]).stdout
    assert re.search(rf"^  Example:\n    authsrv {' '.join(path)}\b", shown, re.MULTILINE)
    assert re.search(r"^  JSON\b.*:\n    \S", shown, re.MULTILINE)
    assert "--json" in shown
    assert all(option.help for option in COMMANDS[path].params)


WITHOUT_DATABASE = {("version",), ("programme", "check")}


@pytest.mark.parametrize("path", [path for path in COMMANDS if path not in WITHOUT_DATABASE], ids=" ".join)
def test_every_command_takes_the_same_place(path: tuple[str, ...]) -> None:
    """The database is named alike everywhere."""
    options = {word for option in COMMANDS[path].params for word in option.opts}
    assert {"--data-dir", "--database", "--schema", "--key-file", "--config", "--json"} <= options


def test_every_setting_is_an_option_of_serve() -> None:
    """What can be set in the file can be set by a flag; but why something is done is said with what is done."""
    options = {word for option in COMMANDS["serve",].params for word in option.opts}
    assert {f"--{name.replace('_', '-')}" for name in NAMES if name != "why"} <= options


def test_the_help_tells_what_is_so_without_a_setting() -> None:
    """Most of all where the switch listens."""
    shown = " ".join(CliRunner().invoke(app, ["serve", "--help"]).stdout.split())
    assert "where modules connect, HOST:PORT [default: (127.0.0.1:7411)]" in shown
    assert "key-value or json [default: (key-value)]" in shown


def test_the_shapes_in_the_help_are_json() -> None:
    """Each documented shape parses, with the keys that the tests below find."""
    for path, command in COMMANDS.items():
        shape = command.help.partition("JSON")[2].partition(":\n")[2]
        if path[-1] not in ("serve", "demo"):
            json.loads(shape)


def shape(*path: str) -> Any:
    """The JSON that a command's help shows."""
    return json.loads(COMMANDS[path].help.partition("JSON")[2].partition(":\n")[2])


def test_programmes_are_listed_with_the_version_in_force(opened: Desk, tmp_path: Path) -> None:
    """Of two versions the one that has begun is in force, and told; a later one is listed."""
    rules = GIFT.read_text().replace("version = 1", "version = 2")
    later = tmp_path / "later.toml"
    later.write_text(re.sub(r"effective_from = \S+", "effective_from = 2099-01-01", rules))
    opened.ask("programme", "load", str(later))
    [gift] = opened.ask("programme", "list")["programmes"]
    assert gift.keys() == shape("programme", "list")["programmes"][0].keys()
    assert (gift["name"], gift["in_force"], [each["version"] for each in gift["versions"]]) == ("gift", 1, [1, 2])
    _, text, _ = opened.run("programme", "list")
    assert "version 1 in force" in text
    assert "2099-01-01" in text
    assert "500.00 EUR" in text


def test_an_issuer_is_set_up_by_commands_alone(opened: Desk, tmp_path: Path) -> None:
    """Module and cards get their kits, 0600, and each command prints the shape that its help shows."""
    kit = tmp_path / "till.json"
    module = opened.ask(
        *("module", "enroll", "--number", "1001", "--branch", "1", "--name", "Till 1", "--kit", str(kit)),
        *("--listen", "10.0.0.1:7000"),
    )
    assert module == {"module": 1001, "branch": 1, "name": "Till 1", "kit": str(kit), "keys": None, "qr": None}
    assert module.keys() == shape("module", "enroll").keys()
    assert stat.S_IMODE(kit.stat().st_mode) == 0o600
    written = json.loads(kit.read_text())
    assert {key: written[key] for key in ("host", "port", "currency", "exponent", "cards")} == {
        "host": "10.0.0.1",
        "port": 7000,
        "currency": 978,
        "exponent": 2,
        "cards": [],
    }
    assert ModuleIdentity.from_json(written["modules"][0]).module == 1001
    assert written["modules"][0]["branch"] == 1

    listed = opened.ask("module", "list")["modules"]
    assert [(each["number"], each["branch_name"], each["generation"]) for each in listed] == [(1001, "Centre", 1)]
    assert listed[0].keys() == shape("module", "list")["modules"][0].keys()

    cards = tmp_path / "cards.json"
    issued = opened.ask(
        *("card", "issue", "gift", "--prefix", "637112", "--count", "3", "--codes", "--kit", str(cards))
    )
    assert issued == {"programme": "gift", "cards": 3, "kit": str(cards)}
    made = json.loads(cards.read_text())["cards"]
    assert len({card["number"] for card in made}) == 3
    for card in made:
        assert card["number"].startswith("637112")
        assert len(card["number"]) == 19
        assert luhn_digit(card["number"][:-1]) == int(card["number"][-1])
        assert re.fullmatch(r"\d{4}", card["access_code"])
        assert card["programme"] == "gift"

    status = opened.ask("db", "status")
    assert status.keys() == shape("db", "status").keys()
    assert (status["issuer"], status["modules"], status["keys"], status["programmes"]) == ("Corner Shop", 1, 6, 1)


def test_a_card_is_shown_by_its_number_and_without_it(opened: Desk, issuer: Issuer, tmp_path: Path) -> None:
    """Programme, status, balance and what moved it; the number itself is not repeated."""
    kit = tmp_path / "cards.json"
    number = "12345678901234567"
    opened.ask("card", "issue", "gift", "--numbers", "-", "--kit", str(kit), typed=f"{number} 4321\n\n")
    assert opened.ask("card", "show", number) == {
        "number": "*4567",
        "live": True,
        "programme": "gift",
        "status": "issued",
        "blocked": None,
        "access_code": True,
        "failures": 0,
        "valid_until": None,
        "unit": "EUR",
        "exponent": 2,
        "balances": {},
        "held": 0,
        "limit": 0,
        "frozen": None,
        "authorizations": [],
    }
    asyncio.run(load(issuer, 1250))
    shown = opened.ask("card", "show", "-", typed=number + "\n")
    assert shown.keys() == shape("card", "show").keys()
    assert shown["balances"] == {"value": 1250}
    assert [
        (each["command"], each["result"], each["approved"], each["module"]) for each in shown["authorizations"]
    ] == [("reload", 0, 1250, 1001)]
    code, text, _ = opened.run("card", "show", "-", typed=number + "\n")
    assert code == 0
    assert "value: 12.50 EUR" in text
    assert number not in text + json.dumps(shown)


def at_the_desk(issuer: Issuer, tmp_path: Path, command: Command, **fields: Any) -> str:
    """The authorization number of what the desk asks for, as a till would."""
    settings = Settings(database=issuer.owner_dsn, schema=issuer.schema, key_file=tmp_path / "kek")
    act = Act(words="till", command=command, fields=fields, about={})
    report = trio.run(carry_out, settings, Operator("till", "a purchase"), act)
    assert report.values["result"] == 0, report.lines
    number: str = report.values["authorization"]
    return number


def test_the_acts_of_an_operator(opened: Desk, issuer: Issuer, tmp_path: Path) -> None:
    """Each command prints the shape that its help shows, does what it says, and stands in the trail in order."""
    first, second = "6371120000000000901", "6371120000000000902"
    cards = tmp_path / "cards.csv"
    cards.write_text(f"{first}\n{second}\n")
    assert "desk add" in opened.refused("card", "block", "-", "--why", "x", typed=first)
    desk = opened.ask("desk", "add", "--number", "9900", "--branch", "1", "--name", "Office")
    assert desk == {"desk": 9900, "branch": 1, "name": "Office"} == {**shape("desk", "add"), "name": "Office"}
    _, out, progress = opened.run("card", "import", "gift", str(cards), "--json")
    assert json.loads(out) == {"programme": "gift", "issued": 2, "there": 0, "refused": []}
    assert progress == "2 lines, 2 cards issued\n"
    at_the_desk(issuer, tmp_path, Command.ACTIVATE, card=first, amount=5000)
    sold = at_the_desk(issuer, tmp_path, Command.SALE, card=first, amount=1250)
    held = at_the_desk(issuer, tmp_path, Command.HOLD, card=first, amount=100)

    acts: list[tuple[tuple[str, ...], str]] = [
        (("card", "block", "-", "--reason", "lost"), first),
        (("card", "unblock", "-", "--reason", "found"), first),
        (("card", "reset-tries", "-"), first),
        (("auth", "release", held), ""),
        (("auth", "refund", sold, "2.50"), ""),
        (("card", "replace", "-", "-"), f"{first}\n{second}\n"),
    ]
    for words, typed in acts:
        done = opened.ask(*words, "--why", "asked for", "--operator", "anna", typed=typed)
        assert done.keys() == shape(*words[:2]).keys()
        assert (done["act"], done["result"]) == (" ".join(words[:2]), 0)
    assert opened.ask("card", "show", second)["balances"]["value"] == 4000
    for words, typed, result in (
        (("auth", "reverse", sold), "", 12),  # a refund stands
        (("card", "limit", "-", "10.00"), second, 57),
        (("card", "freeze", "-", "--from", "2099-01-01"), second, 57),
    ):
        code, out, complaint = opened.run(*words, "--why", "asked for", "--json", typed=typed)
        done = json.loads(out)
        assert (code, done.keys(), done["result"]) == (1, shape(*words[:2]).keys(), result)
        code, _, complaint = opened.run(*words, "--why", "asked for", typed=typed)
        assert complaint.startswith(f"authsrv: declined, {result}-")

    shown = opened.ask("auth", "show", sold)
    assert shown.keys() == shape("auth", "show").keys()
    assert [(each["reversal"], each["amount"]) for each in shown["undone_by"]] == [(False, 250)]
    assert (shown["ordered"]["who"], "12.50 EUR" in shown["receipt"]) == ("till", True)
    assert opened.ask("auth", "show", held)["hold"]["ended"] == "released"
    found = opened.ask("auth", "find", "--module", "9900", "--command", "sale", "--amount", "12.50", "--card", second)
    assert [each["number"] for each in found["authorizations"]] == [sold]
    assert found["authorizations"][0].keys() == shape("auth", "find")["authorizations"][0].keys()
    assert opened.ask("auth", "find", "--to", "2020-01-01")["authorizations"] == []
    [card] = opened.ask("card", "find", "--authorization", sold, "--status", "active", "--not-blocked")["cards"]
    assert (card.keys(), card["value"]) == (shape("card", "find")["cards"][0].keys(), 4000)
    assert opened.ask("card", "find", "--owing")["cards"] == []

    entries = opened.ask("audit", "list", "--by", "anna")["entries"]
    assert [each["act"] for each in reversed(entries)] == [" ".join(words[:2]) for words, _ in acts]
    assert entries[0].keys() == shape("audit", "list")["entries"][0].keys()
    _, text, _ = opened.run("audit", "list", "--most", "1000")
    assert first not in text
    assert f"  original {sold}, amount 2.50  " in text  # first what it was done to
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    for words in ("desk add", "card import", "programme load", "branch add", "keys init"):
        assert words in text, f"{words} left no entry"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("card", "block", "63711x", "--why", "x"), "digits"),
        (("auth", "reverse", "311000000018", "--why", "x"), "no authorization number"),
        (("auth", "refund", "311000000019", "1.234", "--why", "x"), "2 decimals"),
        (("auth", "refund", "311000000019", "NaN", "--why", "x"), "no amount"),
        (("auth", "refund", "311000000019", "1e999999999", "--why", "x"), "no amount"),
        (("auth", "refund", "311000000019", "1_2.50", "--why", "x"), "no amount"),
        (("auth", "show", "17"), "no authorization number"),
    ],
)
def test_what_an_operator_mistypes(opened: Desk, words: tuple[str, ...], complaint: str) -> None:
    """One line says what is wrong, and nothing stands in the trail."""
    assert complaint in opened.refused(*words)
    acts = {each["act"] for each in opened.ask("audit", "list")["entries"]}
    assert acts == {"keys init", "branch add", "programme load"}


def test_what_changes_the_set_up_can_say_why_too(opened: Desk) -> None:
    """The reason stands in the trail with the act; one that could hold a card's number ends it before it begins."""
    opened.ask("branch", "add", "--number", "7", "--name", "Quay", "--why", "opened in spring")
    for why in ("card 6371 1200 0000 0000 901", "x" * 501):
        code, _, complaint = opened.run("branch", "add", "--number", "8", "--name", "Pier", "--why", why)
        assert (code, "--why" in complaint, why in complaint) == (2, True, False)
    [added, *_] = opened.ask("audit", "list")["entries"]
    assert (added["act"], added["about"], added["why"]) == ("branch add", {"branch": 7}, "opened in spring")


def test_why_is_asked_for(opened: Desk) -> None:
    """An act without a reason, or with an empty one, is not begun."""
    assert opened.run("card", "block", "6371120000000000901")[0] == 2
    assert opened.run("card", "block", "6371120000000000901", "--why", "  ")[0] == 2
    for why in ("of card 6371120000000000901", "63711200 0000 0000-901", "x" * 501):
        code, _, complaint = opened.run("card", "block", "6371120000000000901", "--why", why)
        assert (code, "901" in complaint) == (2, False)


@pytest.mark.parametrize("form", ["xlsx", "pdf"])
def test_a_terminal_gets_no_binary_file(opened: Desk, form: str) -> None:
    """On a screen such a report is refused with what to do, and nothing is written; into a file or a pipe it goes."""
    words = [sys.executable, "-m", "authsrv", "report", "sales", "--format", form, *opened.place]
    screen, there = os.openpty()
    with os.fdopen(screen, "rb", buffering=0) as shown:
        done = subprocess.run(words, stdin=there, stdout=there, stderr=subprocess.PIPE, check=False)
        os.set_blocking(screen, False)
        assert shown.read() is None
        os.close(there)
    assert (done.returncode, b"--output FILE" in done.stderr) == (2, True), done.stderr
    piped = subprocess.run(words, capture_output=True, check=True).stdout
    assert piped.startswith({"xlsx": b"PK", "pdf": b"%PDF"}[form])


def test_times_are_those_of_the_receipts(opened: Desk, issuer: Issuer, tmp_path: Path) -> None:
    """Receipts, authorizations, keys and the trail tell one time: the issuer's, with how far it is from UTC."""
    opened.ask("card", "issue", "gift", "--numbers", "-", "--kit", str(tmp_path / "k"), typed="12345678901234567\n")
    opened.ask("desk", "add", "--number", "9900", "--branch", "1", "--name", "Office")
    sold = at_the_desk(issuer, tmp_path, Command.ACTIVATE, card="12345678901234567", amount=5000)
    shown = opened.ask("auth", "show", sold)
    told = dt.datetime.fromisoformat(shown["decided_at"])
    assert told.utcoffset() == told.astimezone(ZoneInfo("Europe/Riga")).utcoffset()
    assert f"{told:%H:%M:%S}"[:-1] in shown["receipt"]
    [found] = opened.ask("auth", "find", "--module", "9900")["authorizations"]
    [moved] = opened.ask("card", "show", "12345678901234567")["authorizations"]
    assert found["decided_at"] == moved["decided_at"] == shown["decided_at"]
    assert shown["decided_at"] in opened.run("auth", "find", "--module", "9900")[1]
    assert f"decided at {shown['decided_at']}" in opened.run("auth", "show", sold)[1]
    offset = shown["decided_at"][-6:]
    for words, entries, at in ((("audit", "list"), "entries", "at"), (("keys", "show"), "keys", "created_at")):
        assert {each[at][-6:] for each in opened.ask(*words)[entries]} == {offset}


def test_a_day_of_the_trail_is_the_issuers(opened: Desk, issuer: Issuer) -> None:
    """What was done a minute past midnight in Riga was done on that day, and a minute before it on the day before."""
    as_admin(issuer, "alter table issuer.audit_trail disable trigger user")
    as_admin(
        issuer, "insert into issuer.audit_trail (at, who, why, act, detail)"
        " values ('2026-01-30T22:01:00Z', 'anna', '', 'after', '{}'),"
        " ('2026-01-30T21:59:00Z', 'anna', '', 'before', '{}')"
    )  # fmt: skip
    acts = [each["act"] for each in opened.ask("audit", "list", "--since", "2026-01-31", "--by", "anna")["entries"]]
    assert acts == ["after"]


async def load(issuer: Issuer, amount: int) -> None:
    """Book a load on the only card, as the switch would."""
    connection = await asyncpg.connect(issuer.admin_dsn, server_settings={"search_path": "issuer"})
    try:
        await connection.execute("select make_months()")
        for sql in (
            """insert into authorizations (
                      module, date, sequence, number, decided_at, booked_on, tombstone, command, result, reason,
                      branch, unit, card, requested, approved, cashier, postings)
               select 1001, current_date, 1, (reserve_numbers(array[current_date]))[1], now(),
                      current_date, false, 18, 0, 0,
                      1, 978, id, $1, $1, 0, array[(100, 1, 978, $1)::posted::posting] from cards""",
            "update cards set unit = 978, value = $1",
        ):
            await connection.execute(sql, amount)
    finally:
        await connection.close()


def test_keys_are_shown_without_a_key(opened: Desk, issuer: Issuer) -> None:
    """Purpose, owner, version, state and check value of each, as the database has them; nothing of what is sealed."""
    opened.ask("module", "enroll", "--number", "1001", "--branch", "1", "--name", "x", "--show-key")
    shown = opened.ask("keys", "show")["keys"]
    assert [(each["purpose"], each["owner"], each["version"], each["state"]) for each in shown] == [
        *((purpose, 0, 1, "used") for purpose in ("token", "verifier", "digest", "record")),
        ("group", 70, 1, "used"),
        ("module", 1001, 1, "used"),
    ]
    assert shown[0].keys() == shape("keys", "show")["keys"][0].keys()
    held = as_admin(issuer, "select array_agg(encode(check_value, 'hex')) from issuer.keys")
    assert sorted(each["check_value"] for each in shown) == sorted(held)
    code, text, _ = opened.run("keys", "show")
    assert code == 0
    assert text.count("\n") == 6
    for sealed in as_admin(issuer, "select array_agg(encode(sealed, 'hex')) from issuer.keys"):
        assert sealed[:16] not in text


@pytest.mark.parametrize("purpose", ["token", "verifier", "digest", "record"])
def test_a_key_is_rotated(opened: Desk, tmp_path: Path, purpose: str) -> None:
    """A second version beside the first, and a card that was issued before is found; another purpose is refused."""
    kit = tmp_path / "cards.json"
    number = "12345678901234567"
    opened.ask("card", "issue", "gift", "--numbers", "-", "--kit", str(kit), typed=f"{number} 4321\n")
    code, out, _ = opened.run("keys", "rotate", purpose, "--json")
    assert (code, json.loads(out)) == (0, {"purpose": purpose, "version": 2})
    assert json.loads(out).keys() == shape("keys", "rotate").keys()
    shown = opened.ask("keys", "show")["keys"]
    assert [each["version"] for each in shown if each["purpose"] == purpose] == [1, 2]
    assert opened.ask("card", "show", number)["access_code"] is True
    code, _, complaint = opened.run("keys", "rotate", "tokens")
    assert (code, "no key tokens" in complaint) == (2, True)


def test_a_group_key_is_rotated_and_ended(opened: Desk) -> None:
    """Kits from behind it have another group key; the newest one cannot be ended, the older can, once; no issuer's."""

    def enroll(number: str) -> Any:
        return opened.ask("module", "enroll", "--number", number, "--branch", "1", "--name", "x", "--show-key")["keys"]

    before = enroll("1")
    assert opened.ask("keys", "rotate", "group") == {"purpose": "group", "owner": 70, "version": 2}
    assert enroll("2")["group_key"] != before["group_key"]
    assert "newest" in opened.refused("keys", "end", "group", "2")
    assert opened.ask("keys", "end", "group", "1") == {"purpose": "group", "owner": 70, "version": 1}
    assert opened.ask("keys", "show")["keys"][4]["state"] == "ended"
    assert "no group key" in opened.refused("keys", "end", "group", "1")
    assert "is not ended" in opened.refused("keys", "end", "token", "1")
    for words in (("end", "group", "1", "--module", "1"), ("end", "module", "1"), ("rotate", "token", "--module", "1")):
        assert opened.run("keys", *words)[0] == 2


def test_a_module_gets_its_next_key(opened: Desk, tmp_path: Path) -> None:
    """In a new kit, with the same module and the next generation; the old key is ended by hand where nobody may have it
    any more; one of suite 2 can be told to take the next from a session."""
    enroll = ("module", "enroll", "--branch", "1", "--name", "x", "--show-key")
    old = opened.ask(*enroll, "--number", "1001", "--suite", "1")["keys"]
    kit = tmp_path / "kit.json"
    answer = opened.ask("module", "rekey", "1001", "--kit", str(kit))
    assert answer == {"module": 1001, "generation": 2, "kit": str(kit), "keys": None, "qr": None}
    assert answer.keys() == shape("module", "rekey").keys()
    new = json.loads(kit.read_text())["modules"][0]
    assert (new["module"], new["generation"], new["suite"], new["branch"]) == (1001, 2, 1, 1)
    assert new["root_key"] != old["root_key"]
    assert opened.ask("keys", "end", "module", "1", "--module", "1001")["owner"] == 1001
    assert "no module 7" in opened.refused("module", "rekey", "7", "--show-key")
    assert "suite 1" in opened.refused("keys", "rotate", "module", "--module", "1001")
    opened.ask(*enroll, "--number", "1002")
    assert opened.ask("keys", "rotate", "module", "--module", "1002") == {"purpose": "module", "modules": [1002]}
    assert opened.run("keys", "rotate", "module")[0] == 2


def test_a_key_in_two_components(opened: Desk, issuer: Issuer, tmp_path: Path) -> None:
    """Two people get a half each, once; together they are the key that the switch holds, and alone no kit."""
    halves = [tmp_path / "half-1.json", tmp_path / "half-2.json"]
    enroll = ("module", "enroll", "--number", "1001", "--branch", "1", "--name", "x", "--components", "2")
    assert "component" in opened.run(*enroll, "--kit", str(halves[0]))[1]
    answer = opened.ask("module", "component", "1001", "--kit", str(halves[1]))
    assert answer == {"module": 1001, "kit": str(halves[1]), "keys": None, "qr": None}
    assert answer.keys() == shape("module", "component").keys()
    assert "already" in opened.refused("module", "component", "1001", "--show-key")
    out = tmp_path / "kit.json"
    till = CliRunner().invoke(terminal_app, ["join", str(halves[1]), str(halves[0]), "--out", str(out)])
    assert (till.exit_code, till.stdout) == (0, "")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    made = Kit.read(out.read_text()).till(1)
    held = as_admin(issuer, "select check_value from issuer.keys where purpose = 'module'")
    assert (made.module, check_value(made.root_key)) == (1001, held)
    assert as_admin(issuer, "select sealed from issuer.keys where purpose = 'component'") == b""
    for half in halves:
        assert stat.S_IMODE(half.stat().st_mode) == 0o600
        with pytest.raises(KitError, match="one component"):
            Kit.read(half.read_text())
        assert made.root_key.hex() not in half.read_text()
    for files in ((halves[0], halves[0]), (halves[0], tmp_path / "none"), (halves[0], out), (*halves,)):
        again = CliRunner().invoke(terminal_app, ["join", *map(str, files), "--out", str(out)])
        assert (again.exit_code, again.stdout) == (2, "")
    assert opened.run(*enroll[:-1], "3", "--show-key")[0] == 2


def test_a_key_as_a_qr_code(opened: Desk) -> None:
    """A picture on the screen; its text, which `--json` gives where the code is asked for, is a kit's module."""
    enroll = ("module", "enroll", "--branch", "1", "--name", "x")
    code, text, _ = opened.run(*enroll, "--number", "1", "--qr")
    assert code == 0
    assert len(text.splitlines()) > 20
    assert "root_key" not in text
    answer = opened.ask(*enroll, "--number", "2", "--qr")
    assert answer["keys"] is None
    assert ModuleIdentity.from_json(json.loads(answer["qr"])).module == 2
    assert opened.ask("module", "rekey", "1", "--show-key")["qr"] is None


@pytest.mark.parametrize(
    ("wrong", "told"),
    [("lost", "bring back the copy"), ("open", "0644.*chmod 0400"), ("another", "does not open"), ("short", "64 hex")],
)
def test_a_switch_does_not_start_by_a_wrong_key(
    opened: Desk, issuer: Issuer, tmp_path: Path, wrong: str, told: str
) -> None:
    """The key file is lost, others may read it, it is another one, or cut off: the switch says which and what to do."""
    assert opened.ask("keys", "show")["keys"]
    file = tmp_path / "kek"
    key = file.read_text()
    file.unlink()
    if wrong != "lost":
        file.write_text({"open": key, "another": key[::-1].strip(), "short": key[:20]}[wrong])
        file.chmod(0o644 if wrong == "open" else 0o400)
    switch = Desk("--database", issuer.switch_dsn, "--key-file", str(file))
    complaint = switch.refused("serve", "--listen", "127.0.0.1:0")
    assert re.search(told, complaint)
    assert key[:16] not in complaint


def test_modules_are_revoked_and_restored(opened: Desk) -> None:
    """All that are named, or none where one is not there."""
    for number in ("1", "2"):
        opened.ask("module", "enroll", "--number", number, "--branch", "1", "--name", "x", "--show-key")

    def revoked() -> list[bool]:
        return [each["revoked"] for each in opened.ask("module", "list")["modules"]]

    assert "no module 3" in opened.refused("module", "revoke", "1", "3")
    assert revoked() == [False, False]
    assert opened.ask("module", "revoke", "1", "2") == {"modules": [1, 2], "revoked": True}
    assert opened.ask("module", "revoke", "1", "2").keys() == shape("module", "revoke").keys()
    assert revoked() == [True, True]
    assert opened.ask("module", "restore", "2") == {"modules": [2], "revoked": False}
    assert revoked() == [True, False]


def test_a_seed_is_whole_or_nothing(desk: Desk, issuer: Issuer, tmp_path: Path) -> None:
    """What the kit says is what the database holds; a second seed is refused and leaves no file."""
    as_admin(issuer, "select issuer.set_issuer(7, 'Load', 'UTC', 978, 'EUR', 2::smallint, 70)")
    desk.ask("keys", "init")
    kit = tmp_path / "kit.json"
    assert desk.ask("seed", "--cards", "21", "--modules", "3", "--kit", str(kit)) == {
        "cards": 21,
        "modules": 3,
        "kit": str(kit),
    }
    written = json.loads(kit.read_text())
    assert [(each["module"], each["branch"]) for each in written["modules"]] == [(1001, 1), (1002, 2), (1003, 1)]
    assert len(written["cards"]) == 21
    assert desk.ask("card", "show", written["cards"][20]["number"])["access_code"] is True
    assert as_admin(issuer, "select count(*) from issuer.cards") == 21
    complaint = desk.refused("seed", "--cards", "1", "--modules", "1", "--kit", str(tmp_path / "again.json"))
    assert "set up already" in complaint
    assert not (tmp_path / "again.json").exists()


def test_a_kit_is_never_overwritten(opened: Desk, tmp_path: Path) -> None:
    """The file stays, and the module is not enrolled."""
    kit = tmp_path / "kit.json"
    kit.write_text("keys of another module")
    enroll = ("module", "enroll", "--number", "1", "--branch", "1", "--name", "x", "--kit", str(kit))
    assert "already" in opened.refused(*enroll)
    assert kit.read_text() == "keys of another module"
    assert opened.ask("module", "list") == {"modules": []}


def test_a_refused_enrolment_leaves_no_kit(opened: Desk, tmp_path: Path) -> None:
    """There would be keys in it that nothing knows."""
    kit = tmp_path / "kit.json"
    assert "no branch 9" in opened.refused(
        *("module", "enroll", "--number", "1", "--branch", "9", "--name", "x", "--kit", str(kit))
    )
    assert not kit.exists()


def test_keys_are_shown_only_when_that_is_asked_for(opened: Desk, tmp_path: Path) -> None:
    """With a kit the screen stays clean; with --show-key it is the same key that the switch holds."""
    kit = tmp_path / "kit.json"
    code, text, _ = opened.run(
        *("module", "enroll", "--number", "1", "--branch", "1", "--name", "x", "--kit", str(kit))
    )
    assert code == 0
    assert json.loads(kit.read_text())["modules"][0]["root_key"] not in text
    shown = opened.ask("module", "enroll", "--number", "2", "--branch", "1", "--name", "x", "--show-key")
    assert len(bytes.fromhex(shown["keys"]["root_key"])) == 32
    code, _, complaint = opened.run("module", "enroll", "--number", "3", "--branch", "1", "--name", "x")
    assert (code, "--kit" in complaint) == (2, True)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--columns", "40"), "40 columns"),
        (("--language", "tlh"), "tlh"),
        (("--deadline-s", "121"), "121 s"),
        (("--bad-cards-per-day", "0"), "0 bad cards"),
        (("--number", "4294967296"), "4294967296"),
    ],
)
def test_an_impossible_module_is_refused_with_the_value(opened: Desk, words: tuple[str, str], named: str) -> None:
    """The operator reads what cannot be, before the database does."""
    complaint = opened.refused(
        "module", "enroll", "--number", "1", "--branch", "1", "--name", "x", "--show-key", *words
    )
    assert named in complaint


def test_which_cards_to_issue_must_be_plain(opened: Desk, tmp_path: Path) -> None:
    """Given numbers or made ones; a kit is not made for neither or both."""
    kit = str(tmp_path / "kit.json")
    for words in (
        (),
        ("--count", "3"),
        ("--prefix", "1"),
        ("--numbers", "-", "--count", "1"),
        ("--numbers", "-", "--codes"),
    ):
        code, _, complaint = opened.run("card", "issue", "gift", "--kit", kit, *words)
        assert (code, "say which cards" in complaint) == (2, True)
    assert "line 2" in opened.refused(
        "card", "issue", "gift", "--kit", kit, "--numbers", "-", typed="12345678\n1 2 3\n"
    )
    assert "easy to guess" in opened.refused(
        *("card", "issue", "gift", "--kit", kit, "--prefix", "1" * 14, "--count", "11")
    )


def test_a_mistaken_programme_is_told_by_its_lines(opened: Desk, tmp_path: Path) -> None:
    """Every mistake at once."""
    file = tmp_path / "gift.toml"
    file.write_text(GIFT.read_text().replace("version = 1", "version = 0").replace("partial = true", "partial = 1"))
    code, out, complaint = opened.run("programme", "load", str(file))
    assert (code, out) == (1, "")
    assert "version" in complaint
    assert "partial" in complaint
    assert "Traceback" not in complaint


def test_a_further_version_for_another_kind_of_card_is_refused(opened: Desk, tmp_path: Path) -> None:
    """In one line that says what to do instead, though the file itself is good."""
    file = tmp_path / "gift.toml"
    text = (GIFT.parent / "visits.toml").read_text().replace('name = "visits"', 'name = "gift"')
    file.write_text(text.replace("version = 1", "version = 2").replace("2025-01-01", "2026-01-01", 1))
    assert Desk().run("programme", "check", str(file))[0] == 0
    complaint = opened.refused("programme", "load", str(file))
    assert "gift is for cards of the kind gift" in complaint
    assert "give the new programme another name" in complaint


def test_a_programme_is_checked_without_a_database() -> None:
    """What it means stands on stdout, in amounts of its currency, and in JSON under its name."""
    code, out, complaint = Desk().run("programme", "check", str(GIFT))
    assert (code, complaint) == (0, "")
    first, *lines = out.splitlines()
    assert first == f"{GIFT} is good: gift, version 1, from 2025-01-01 on"
    assert "  loads from 5.00 to 500.00 EUR, at most 5 a day; a card holds at most 1000.00 EUR" in lines
    [checked] = Desk().ask("programme", "check", str(GIFT))["files"]
    good, bad = shape("programme", "check")["files"]
    assert checked.keys() == good.keys() == bad.keys()
    assert checked["programme"].keys() == good["programme"].keys()
    assert (checked["file"], checked["programme"]["kind"], checked["mistakes"]) == (str(GIFT), "gift", [])
    assert [f"  {line}" for line in checked["programme"]["meaning"]] == lines


def test_every_mistake_in_a_checked_programme_is_told_by_file_and_line(tmp_path: Path) -> None:
    """Those of all files, and nothing else goes to stderr; what is good is told beside them."""
    text = GIFT.read_text()
    wrong, broken, absent = tmp_path / "wrong.toml", tmp_path / "broken.toml", tmp_path / "absent.toml"
    wrong.write_text(text.replace("version = 1", "version = 0").replace("refundable = true", "branches = [1,\n0]"))
    broken.write_text(text + "version = 2\n")
    files = (wrong, GIFT, broken, absent)
    code, out, complaint = Desk().run("programme", "check", *map(str, files))
    assert (code, out.splitlines()[0]) == (1, f"{GIFT} is good: gift, version 1, from 2025-01-01 on")
    told = complaint.splitlines()
    starts = (
        f"{wrong}:6: version cannot be 0; write 1 or more: counts up",
        f"{wrong}:8: refundable is missing; write it: whether",
        f"{wrong}:{line_of(wrong, '0]')}: branches cannot be 0; write 1 or more: the numbers",
        f"{broken}:{line_of(broken, 'version = 2')}: version is written twice, on line 6 already",
        f"{absent} cannot be read: No such file or directory",
    )
    assert len(told) == len(starts)
    for line, start in zip(told, starts, strict=True):
        assert line.startswith(start)
    code, out, complaint = Desk().run("programme", "check", *map(str, files), "--json")
    assert (code, complaint) == (1, "")
    checked = json.loads(out)["files"]
    assert [each["file"] for each in checked] == list(map(str, files))
    assert [each["programme"] is None for each in checked] == [True, False, True, True]
    assert [[mistake["line"] for mistake in each["mistakes"]] for each in checked] == [
        [6, 8, line_of(wrong, "0]")],
        [],
        [line_of(broken, "version = 2")],
        [0],
    ]


def line_of(file: Path, start: str) -> int:
    """The line of a file that begins so."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if line.startswith(start))


def test_a_programme_from_standard_input_is_checked() -> None:
    """Under the name that it was called by; nesting without end is a mistake and no fault."""
    code, out, complaint = Desk().run("programme", "check", "-", typed=GIFT.read_text())
    assert (code, out.splitlines()[0], complaint) == (0, "- is good: gift, version 1, from 2025-01-01 on", "")
    code, out, complaint = Desk().run("programme", "check", "-", typed="name = 'x'\nbranches = " + "[" * 100_000)
    assert (code, out) == (1, "")
    assert complaint == "-:2: more lists and tables stand in one another than any programme has; leave them out\n"


@pytest.mark.usefixtures("opened")
def test_a_wrong_key_is_refused(issuer: Issuer, tmp_path: Path) -> None:
    """Nothing is written under a key that could not open what is there."""
    make_key_file(tmp_path / "other", bytes(32))
    other = Desk("--database", issuer.owner_dsn, "--key-file", str(tmp_path / "other"))
    assert "not the one that this database was set up with" in other.refused(
        "module", "enroll", "--number", "1", "--branch", "1", "--name", "x", "--show-key"
    )
    lost = Desk("--database", issuer.owner_dsn, "--key-file", str(tmp_path / "lost"))
    assert "bring" in lost.refused("card", "show", "12345678")
    assert "bring" in lost.refused("keys", "init")
    assert not (tmp_path / "lost").exists()


def test_settings_that_cannot_be_end_before_anything_begins(tmp_path: Path) -> None:
    """Exit code 2 and the name, the value and what to write instead."""
    code, out, complaint = Desk("--data-dir", str(tmp_path / "none")).run("serve", "--lanes", "0", "--listen", "here")
    assert (code, out) == (2, "")
    assert "--lanes is 0" in complaint
    assert "1 to 64" in complaint
    assert "--listen is here" in complaint
    assert not (tmp_path / "none").exists()


def test_no_database_named_says_how_to_name_one() -> None:
    """For each command alike."""
    code, _, complaint = Desk().run("db", "status")
    assert code == 2
    assert "--data-dir DIR" in complaint
    assert "--database DSN" in complaint


def test_an_unreachable_server_is_no_traceback() -> None:
    """One line, and the password is not in it."""
    complaint = Desk("--database", "postgresql://shop_owner:secret@127.0.0.1:1/x").refused("db", "status")
    assert "cannot be reached" in complaint
    assert "secret" not in complaint


def test_the_switch_role_sees_the_status_and_sets_nothing_up(issuer: Issuer) -> None:
    """Its DSN is enough to look, and the refusal says which one is needed."""
    desk = Desk("--database", issuer.switch_dsn)
    assert desk.ask("db", "status")["issuer"] is None
    assert "issuer_owner" in desk.refused("branch", "add", "--number", "1", "--name", "x")


def test_a_server_of_ones_own_gets_database_roles_and_schema(database: Server, tmp_path: Path) -> None:
    """`db init` writes the two DSNs into a file of ours alone, and they work."""
    admin = Desk("--database", database.admin_dsn, "--schema", "kiosk")
    code, _, complaint = admin.run("db", "init")
    assert (code, "--dsns" in complaint) == (2, True)
    file = tmp_path / "dsns.json"
    made = admin.ask("db", "init", "--dsns", str(file), "--issuer", "Kiosk", "--zone", "Europe/Riga")
    assert made.keys() == shape("db", "init").keys()
    assert made["issuer"] == "Kiosk"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "already" in admin.refused("db", "init", "--dsns", str(file))  # before new passwords are set
    dsns = json.loads(file.read_text())
    assert Desk("--database", dsns["switch"]).ask("db", "status")["issuer"] == "Kiosk"
    again = Desk("--database", dsns["owner"]).ask("db", "migrate")
    assert again == {"schema": "kiosk", "before": made["revision"], "revision": made["revision"]}


def test_a_data_folder_is_all_that_is_needed(database_folder: Path) -> None:
    """From an empty folder to an issuer with keys, and its server is gone after each command."""
    folder = database_folder / "data"
    desk = Desk("--data-dir", str(folder))
    assert "db init" in desk.refused("db", "status")
    desk.ask("db", "init", "--issuer", "Corner Shop")
    assert desk.ask("keys", "init") == {"key_file": str(folder / "kek")}
    assert stat.S_IMODE((folder / "kek").stat().st_mode) == 0o400
    assert "made already" in desk.refused("keys", "init")
    (folder / "kek").unlink()
    assert "bring it back" in desk.refused("keys", "init")
    assert not (folder / "kek").exists()
    assert not (folder / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize("option", ["--listen", "--metrics"])
def test_a_port_that_is_taken_is_named_with_the_option_that_moves_it(
    opened: Desk, issuer: Issuer, tmp_path: Path, option: str
) -> None:
    """Most of all the operator needs to know which port."""
    del opened  # has made the keys
    switch = Desk("--database", issuer.switch_dsn, "--key-file", str(tmp_path / "kek"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        complaint = switch.refused("serve", "--listen", "127.0.0.1:0", option, address)
    assert complaint == f"authsrv: Address already in use, give another {option}: {address}\n"


@pytest.mark.usefixtures("opened")
def test_a_switch_with_a_wrong_key_does_not_start(issuer: Issuer, tmp_path: Path) -> None:
    """One line, out of whatever task it was noticed in."""
    make_key_file(tmp_path / "other", bytes(32))
    switch = Desk("--database", issuer.switch_dsn, "--key-file", str(tmp_path / "other"))
    assert "not the one that this database was set up with" in switch.refused("serve", "--listen", "127.0.0.1:0")


def test_an_older_schema_is_migrated_before_anything_is_set_up(opened: Desk, issuer: Issuer) -> None:
    """The refusal says how; the status says where it is."""
    as_admin(issuer, "update issuer.schema_version set version_num = '0000' returning 1")
    assert "authsrv db migrate" in opened.refused("branch", "add", "--number", "2", "--name", "Harbour")
    status = opened.ask("db", "status")
    assert (status["revision"], status["issuer"], status["modules"]) == ("0000", None, None)
    _, shown, _ = opened.run("db", "status")
    assert "modules" not in shown
