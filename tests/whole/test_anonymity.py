"""Nothing that a switch leaves behind tells a card number or an access code, and no log or wire an amount (law 6).

Thousands of requests with numbers of 19 digits and codes of 12, right and wrong, known and unknown, among bad frames
and lost connections to the database. Then whatever was left is searched for each of them in each encoding: the data
folder with its write-ahead log, every log and complaint, the metrics, what went over the wire. Amounts above 10^12 are
searched for in all but the data folder, which holds them.

`AUTHSRV_REQUESTS=100000 pytest tests/whole/test_anonymity.py` asks that often.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trio
from shop import DESK, GIFT, KEK, TILLS, furnish
from whole.shopfront import Books, Shopfront
from whole.till import Line, Slip
from whole.traces import ENCODINGS, patterns, traces

from authsrv.shell.enrolment import add_programme, issue_cards, load_ring
from authsrv.shell.key_file import make_key_file
from ledger.shell import embedded
from ledger.shell.database import open_database
from ledger.shell.migrate import migrate
from loyalty.source import parse_programme
from protocol.messages import Response
from protocol.numbers import Command, GivenReason

if TYPE_CHECKING:
    from protocol.signon import ModuleIdentity

REQUESTS = int(os.environ.get("AUTHSRV_REQUESTS", "4000"))
CARDS = 600
IN_FLIGHT = 100
ROOT = Path(__file__).parents[2]
PATIENCE_S = 60

NUMBERS = [f"637112904{index * 7919:010d}" for index in range(2 * CARDS)]  # the second half is never issued
CODES = [f"90817263{index * 13 % 10_000:04d}" for index in range(2 * CARDS)]  # the second half is nobody's
AMOUNTS = [4_271_980_000_000 + index * 37 for index in range(2000)]
"""Each family has its first digits in common, and the rest spread."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Captured(socket.socket):
    """A socket whose bytes, either way, are written down as they are on the wire."""

    into: IO[bytes]

    def sendall(self, data: Any, *more: Any) -> None:
        self.into.write(data)
        super().sendall(data, *more)

    def recv(self, *size: Any) -> bytes:
        data = super().recv(*size)
        self.into.write(data)
        return data


def a_line(identity: ModuleIdentity, address: tuple[str, int], date: Any, into: IO[bytes]) -> Line:
    """A session all of which is captured."""
    make = socket.create_connection

    def captured(*where: Any) -> Captured:
        plain = make(*where)
        line = Captured(fileno=plain.detach())
        line.settimeout(PATIENCE_S)
        line.into = into
        return line

    socket.create_connection = captured  # type: ignore[assignment]
    try:
        return Line(identity, address, date)
    finally:
        socket.create_connection = make


class Run:
    """A switch over a database of its own, all that both leave behind, and tills that ask."""

    def __init__(self, folder: Path, left: Path) -> None:
        self.folder, self.left = folder, left
        self.front: Shopfront
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            self.port, self.metrics_port = one.getsockname()[1], two.getsockname()[1]

    def program(self, *words: str, typed: str = "") -> int:
        """Run a command of the operator's; what it says and complains is kept."""
        with (self.left / "commands.log").open("ab") as log:
            return subprocess.run(
                [sys.executable, "-m", "authsrv", *words, "--data-dir", str(self.folder)],
                cwd=ROOT, input=typed.encode(), stdout=log, stderr=log, check=False,
            ).returncode  # fmt: skip

    def furnish(self, database: Any) -> None:
        """A shop whose programme has no small limits, and its cards."""
        books = Books(database.owner_dsn)
        books.open()
        identities, _, _ = books.run(furnish(books.connection))
        big = replace(
            parse_programme(GIFT.read_text(), "gift"), name="big", load_minimum_minor=1, load_maximum_minor=10**15,
            balance_maximum_minor=10**17, loads_per_day=32_767,
        )  # fmt: skip
        books.run(add_programme(books.connection, big))
        books.query("update modules set bad_cards_per_day = 1000000000")
        ring = books.run(load_ring(books.connection, KEK))
        cards = list(zip(NUMBERS[:CARDS], CODES[:CARDS], strict=True))
        books.run(issue_cards(books.connection, ring, "big", cards))
        date = books.value("select (clock_timestamp() at time zone zone)::date from issuer")
        self.front = Shopfront(books, identities, ring, date, database.switch_dsn, "issuer")

    def serve(self) -> subprocess.Popen[bytes]:
        """`authsrv serve`, as talkative as it can be."""
        with (self.left / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "authsrv", "serve", "--data-dir", str(self.folder), "--log-level", "debug"),
                    *("--listen", f"127.0.0.1:{self.port}", "--metrics", f"127.0.0.1:{self.metrics_port}"),
                ],
                cwd=self.left, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
            )  # fmt: skip
        while "listening" not in (self.left / "serve.log").read_text():
            assert process.poll() is None, (self.left / "serve.log").read_text()
        return process

    def ask(self, requests: int) -> set[int]:
        """Ask so often, of every kind, over captured lines; the results that came."""
        dice, front = random.Random(6), self.front  # noqa: S311 - dice, not keys
        came: set[int] = set()
        slips: list[Slip] = []
        with (self.left / "wire").open("wb") as wire:
            lines = {
                module: a_line(front.identities[module], ("127.0.0.1", self.port), front.date, wire)
                for module in (*TILLS, DESK)
            }
            for asked in range(0, requests, IN_FLIGHT):
                posted = []
                for _ in range(IN_FLIGHT):
                    slip = self.a_slip(dice, slips)
                    slips.append(slip)
                    posted.append((lines[slip.name.module], lines[slip.name.module].post(slip)))
                came |= {Response.decode(line.answer(counter)).result for line, counter in posted}
                if asked == requests // 2 // IN_FLIGHT * IN_FLIGHT:
                    self.send_junk()
                    came |= self.lose_connections(lines[TILLS[0]])
            for line in lines.values():
                line.close()
        return came

    def a_slip(self, dice: random.Random, before: list[Slip]) -> Slip:
        """What somebody at a till might ask, rightly or not."""
        front, till = self.front, dice.choice(TILLS)
        at = dice.randrange(2 * CARDS) if dice.random() < 0.2 else dice.randrange(CARDS)
        card, code = NUMBERS[at], CODES[at if dice.random() < 0.9 else dice.randrange(2 * CARDS)]
        amount = dice.choice(AMOUNTS)
        match dice.randrange(10):
            case 0 | 1 | 2:
                return front.slip(
                    till, Command.ACTIVATE if dice.random() < 0.5 else Command.RELOAD, card=card, amount=amount
                )
            case 3 | 4 | 5:
                return front.slip(till, Command.SALE, card=card, amount=amount, code=code, partial=dice.random() < 0.5)
            case 6 if before:
                slip = dice.choice(before)
                if slip.command in (Command.SALE, Command.RELOAD):
                    return front.slip(slip.name.module, Command.REVERSE, amount=slip.amount, original=slip.name)
                return slip
            case 7:
                return front.slip(till, Command.BALANCE, card=card, code=code)
            case 8:
                return front.slip(DESK, Command.RESET_TRIES, card=card)
            case _:
                new_code = dice.choice(CODES)
                return dice.choice((
                    front.slip(till, Command.CHANGE_ACCESS_CODE, card=card, code=code, new_code=new_code),
                    front.slip(till, Command.REPLACE, card=card, code=code, new_card=dice.choice(NUMBERS)),
                    front.slip(DESK, Command.BLOCK, card=card, reason=GivenReason.HOLDER),
                ))  # fmt: skip

    def send_junk(self) -> None:
        """Bytes that are no frames, a card's number among them."""
        for junk in (NUMBERS[0].encode() * 20, b"GET / HTTP/1.1\r\n\r\n", secrets.token_bytes(500)):
            with socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as line:
                line.sendall(junk)

    def lose_connections(self, line: Line) -> set[int]:
        """Every connection of the switch to the database is gone while a batch waits for a card."""
        front, slips = self.front, [
            self.front.slip(TILLS[0], Command.SALE, card=NUMBERS[0], amount=amount, code=CODES[0])
            for amount in AMOUNTS[:20]
        ]  # fmt: skip
        [card] = front.books.run(
            front.books.connection.fetch(
                "select card from card_numbers where token = $1", front.ring.token(NUMBERS[0].encode().ljust(20, b"\0"))
            )
        )
        attachment = embedded.attach(self.folder)
        admin = Books(attachment.admin_dsn)
        admin.open()
        with front.books.held(card["card"]) as gate:
            posted = [line.post(slip) for slip in slips]
            gate.await_waiting(1)
            admin.query(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1",
                urlsplit(front.switch_dsn).username,
            )
        results = {Response.decode(line.answer(counter)).result for counter in posted}
        admin.close()
        attachment.detach()
        return results

    def scrape(self) -> None:
        """What a monitor reads."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics") as page:
            (self.left / "metrics").write_bytes(page.read())

    def commands(self) -> None:
        """What operators look at and mistype."""
        number = NUMBERS[0]
        assert self.program("card", "show", "-", typed=f"{number}\n") == 0
        assert self.program("card", "show", "-", typed=f"{NUMBERS[-1]}\n") == 1
        (self.folder.parent / "cards").mkdir(exist_ok=True)
        assert self.program("card", "import", "big", "/dev/stdin", typed=f"{number} {CODES[1]}\n{number}x 1\n") == 1
        assert self.program("auth", "find", "--card", "-", typed=f"{number}\n") == 0


@pytest.fixture
def run(database_folder: Path, tmp_path: Path) -> Run:
    return Run(database_folder, tmp_path)


def test_nothing_that_is_left_tells_of_a_card(run: Run) -> None:
    """No number and no code in any encoding anywhere, no amount outside of the ledger; nor a core dump."""

    async def whole() -> None:
        make_key_file(run.folder / "kek", KEK)
        async with open_database(data_dir=run.folder, create=True) as database:
            await trio.to_thread.run_sync(migrate, database.owner_dsn, database.schema)
            await trio.to_thread.run_sync(play, database)

    def play(database: Any) -> None:
        run.furnish(database)
        with run.serve() as process:
            try:
                look(process)
            finally:
                process.kill()
        run.front.books.close()

    def look(process: subprocess.Popen[bytes]) -> None:
        came = run.ask(REQUESTS)
        assert {0, 10, 14, 51, 55, 75, 91} <= came, "not everything happened that should leave no trace"
        assert "did not settle" in (run.left / "serve.log").read_text()
        run.scrape()
        run.commands()
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max core")] == [["0", "0"]]
        process.send_signal(signal.SIGABRT)
        assert process.wait(PATIENCE_S) == -signal.SIGABRT

    trio.run(whole)
    (run.left / "postgres.log").write_bytes((run.folder / "postgres.log").read_bytes())
    kept = [file for file in run.folder.rglob("*") if file.is_file()]
    logs = [file for file in run.left.rglob("*") if file.is_file()]
    assert not [file for file in (*kept, *logs) if file.name.startswith("core")]
    assert sum(file.stat().st_size for file in kept) > 10**7
    assert (run.left / "wire").stat().st_size > REQUESTS * 1500
    cards, codes, amounts = patterns(NUMBERS), patterns(CODES), patterns([str(amount) for amount in AMOUNTS])
    found = [
        f"{file.name}: {what}"
        for files, families in ((kept, (cards, codes)), (logs, (cards, codes, amounts)))
        for file in files
        for looked_for in families
        for what in traces(file, looked_for)
    ]
    assert found == []


@pytest.mark.parametrize("secrets_of", [NUMBERS, CODES, list(map(str, AMOUNTS))], ids=["cards", "codes", "amounts"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_planted_one_is_found(encoding: str, secrets_of: list[str], tmp_path: Path) -> None:
    """One secret in each encoding, put into a megabyte of noise, is found where it was put; in the noise nothing."""
    noise = random.Random(7).randbytes(1_000_000)  # noqa: S311 - noise
    file, looked_for = tmp_path / "file", patterns(secrets_of)
    file.write_bytes(noise)
    assert list(traces(file, looked_for)) == []
    written = ENCODINGS[encoding](secrets_of[321])
    file.write_bytes(noise[:777_777] + written + noise[777_777:])
    assert f"{encoding} at 777777" in list(traces(file, looked_for))
