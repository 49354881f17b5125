"""One run: sign on, warm up, measure, and prove that all that was said is true."""

import datetime as dt
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from math import ceil
from random import Random
from typing import Final

import asyncpg

from ledger.shell.door import Connection
from loadtest.cards import access_code_of
from loadtest.measurement import CpuSample, Window
from loadtest.profile import Load, Profile
from loadtest.result import Outcome
from loadtest.shell import cpu
from loadtest.shell.generator import Generator
from loadtest.shell.ground import Ground
from loadtest.shell.newcomer import Newcomer, Step
from loadtest.shell.switch import Switch
from loadtest.shell.till import PATIENCE_S, Line, SignOnError, Till, WrongAnswerError
from loadtest.storm import Storm
from loadtest.traffic import CODE_RANDOM_BYTES, Script, arrivals
from loadtest.verification import Entry, Exchange, Name, open_requests, verify
from protocol import access_code
from protocol.messages import Request, date_number
from protocol.numbers import Flag
from protocol.signon import ModuleIdentity

SPARE: Final = 1.2  # more sealed requests than the warm-up's rate asks for
RATE_GUESS_PER_S: Final = 10_000.0
STORM_AT: Final = 0.25  # of the run
WEIGHED_SIGN_ONS: Final = 200


ENTRIES: Final = """
    select a.module, a.date, a.sequence, a.command, a.result, a.approved, a.number,
           (select coalesce(sum(p.amount), 0)::bigint from unnest(a.postings) p) as posted
      from unnest($1::bigint[], $2::bigint[]) f(module, last),
           lateral (select * from authorizations
                     where module = f.module and date >= $3 and sequence > f.last offset 0) a
"""
LAST_SEQUENCES: Final = """
    select m.number as module, coalesce(a.sequence, 0) as last from modules m
      left join lateral (select sequence from authorizations where module = m.number
                          order by date desc, sequence desc limit 1) a on true
"""
BOOKS: Final = {
    "a unit does not sum to zero": "select unit from trial_balance group by unit having sum(balance) <> 0",
    "a balance is not what its postings add up to": "select card from unbalanced_accounts",
    "an account holds back what its open holds do not": "select card from unbalanced_holds",
    "an account lies below its floor": "select card from accounts where balance - held < floor",
}


class Shift:
    """Tills at work on a switch: they sign on, work for a while, and are checked in the end."""

    def __init__(
        self, ground: Ground, switch: Switch, profile: Profile, *, seed: int, progress: Callable[[str], None]
    ) -> None:
        """Sign the profile's modules on; `progress` is told what goes on, in words. Raises `SignOnError`."""
        if not ground.cards:
            raise SignOnError(f"{ground.folder} holds no cards: `grow` did not end there; give another folder")
        wanted = profile.modules + profile.storm_modules
        if wanted > len(ground.modules):
            raise SignOnError(f"{profile.name} needs {wanted} modules, {ground.folder} has {len(ground.modules)}")
        self._ground = ground
        self._switch = switch
        self._profile = profile
        self._random = Random(seed)  # noqa: S311 - traffic, that can be made again
        self._progress = progress
        self._today = dt.datetime.now(dt.UTC).date()
        self._last = {row["module"]: row["last"] for row in ground.query(LAST_SEQUENCES)}
        self.tills: list[Till] = []
        self._measured_from: list[int] = []
        self._generator = Generator()
        try:
            for place in range(0, profile.modules, profile.modules_per_connection):
                self._sign_on(ground.modules[place : place + profile.modules_per_connection])
        except BaseException:
            self.close()
            raise
        self._rate_per_s = RATE_GUESS_PER_S
        self._sign_on_cpu_s = 0.0

    def _sign_on(self, identities: Sequence[ModuleIdentity]) -> None:
        line = Line(self._switch.address)
        for till, last in line.sign_on(identities, self._today):
            script = Script(
                self._profile,
                self._ground.cards[: self._profile.cards],
                module=till.session.module,
                today=self._today,
                last_sequence=last,
                code_key=till.session.access_code_key,
                random=Random(self._random.getrandbits(64)),  # noqa: S311 - the same
                fresh=self._ground.fresh_cards[len(self.tills) :: self._profile.modules],
            )
            till.begin(script)
            self.tills.append(till)
        self._generator.add(line)

    def activate_cards(self) -> None:
        """Sell all cards that every run uses, where that was not done before."""
        [active] = self._ground.query("select count(*) as cards from cards where status = 1")
        if active["cards"] >= len(self._ground.cards):
            return
        self._progress(f"selling {len(self._ground.cards)} cards")
        for place, card in enumerate(self._ground.cards):
            self.tills[place % len(self.tills)].activate(card)
        if not self._generator.settle():
            raise SignOnError(f"the switch stopped answering while {len(self._ground.cards)} cards were sold")
        [active] = self._ground.query("select count(*) as cards from cards where status = 1")
        if active["cards"] < len(self._ground.cards):
            raise SignOnError(f"of {len(self._ground.cards)} cards the switch sold {active['cards']}")
        self._ground.ask(lambda connection: connection.execute("analyze"))

    def warm_up(self) -> None:
        """Work for a while without measuring, and learn the rate."""
        duration_s = self._profile.warm_up_s
        self._seal(duration_s)
        self._generator.drive(duration_s, self._arrivals(duration_s))
        self._rate_per_s = len(self._generator.answered_s) / duration_s

    def measure(self, duration_s: float) -> Window:
        """Work and measure."""
        self._seal(duration_s)
        coming = self._arrivals(duration_s)
        samples: list[CpuSample] = []

        newcomers = self._newcomers(self._profile.storm_modules)

        def sample(at_s: float) -> None:
            if newcomers and at_s >= duration_s * STORM_AT and not self._generator.newcomers:
                self._generator.let_in(newcomers)
            samples.append(CpuSample(at_s, self._cpu_used_s()))
            self._progress(f"{self._profile.name}: {at_s:3.0f} s, {len(self._generator.answered_s)} answers")

        self._measured_from = [till.sent for till in self.tills]
        bounds, requests = self._switch.batches()
        self._generator.drive(duration_s, coming, sample)
        self._generator.await_newcomers(PATIENCE_S)
        bounds_after, requests_after = self._switch.batches()
        below, batches = 0, {}
        for bound, count in bounds_after.items():
            batches[bound] = count - bounds.get(bound, 0) - below
            below += batches[bound]
        return Window(
            duration_s,
            self._generator.wanted_s,
            self._generator.answered_s,
            samples,
            batches,
            requests_after - requests,
        )

    def _cpu_used_s(self) -> dict[str, float]:
        return {
            "switch": cpu.tree_s(self._switch.pid),
            "database": cpu.tree_s(self._ground.postmaster),
            "generator": cpu.own_s(),
        }

    def _newcomers(self, count: int) -> list[Newcomer]:
        identities = self._ground.modules[self._profile.modules :][:count]
        return [Newcomer(self._switch.address, identity, self._today) for identity in identities]

    def weigh_sign_on(self) -> None:
        """Learn what one sign-on costs while nothing else goes on: the CPU seconds of all parties."""
        before = sum(self._cpu_used_s().values())
        newcomers = self._newcomers(WEIGHED_SIGN_ONS)
        with closing(Generator()) as generator:
            generator.let_in(newcomers)
            generator.await_newcomers(PATIENCE_S)
        self._sign_on_cpu_s = (sum(self._cpu_used_s().values()) - before) / len(newcomers)

    def _storm(self) -> Storm | None:
        newcomers = self._generator.newcomers
        if not newcomers:
            return None
        started = self._generator.started
        return Storm(
            newcomers[0].started - started,
            [each.live_at - started for each in newcomers if each.step is Step.LIVE],
            len(newcomers),
            self._sign_on_cpu_s,
        )

    def _arrivals(self, duration_s: float) -> list[float] | None:
        if self._profile.load is Load.CLOSED:
            return None
        return arrivals(replace(self._profile, duration_s=duration_s), self._random)

    def _seal(self, duration_s: float) -> None:
        rate_per_s = self._profile.rate_per_s or self._rate_per_s
        for till in self.tills:
            till.seal_next(ceil(SPARE * duration_s * rate_per_s / len(self.tills)) + 1)

    def close(self) -> None:
        """End all connections."""
        self._generator.close()

    def finish(self, window: Window) -> Outcome:
        """Hang up, resolve what is open by repeats, and verify everything since the tills signed on."""
        self._progress(f"{self._profile.name}: verifying")
        self.close()
        exchanges: list[Exchange] = []
        findings: list[str] = []
        refused = 0
        for till, measured_from in zip(self.tills, self._measured_from, strict=True):
            seen: list[Exchange] = []
            try:
                seen.extend(till.exchanges())
            except WrongAnswerError as error:
                findings.append(f"forged: {error}")
            refused += sum(1 for each in seen[measured_from:] if each.answer is not None and each.final is None)
            exchanges += seen
        unanswered = left = open_requests(exchanges)
        while left:
            self._progress(f"{self._profile.name}: asking again what has no recorded answer: {len(left)}")
            exchanges += self._repeat(left)
            before, left = len(left), open_requests(exchanges)
            if len(left) == before:
                break  # the switch answers nobody: what is left is a finding
        entries = self._entries()
        return Outcome(
            self._profile,
            window,
            verify(exchanges, entries, [*findings, *self._books()]),
            refused,
            len(unanswered) - len(left),
            sum(till.ended for till in self.tills),
            self._generator.sealed_late,
            self._storm(),
        )

    def _repeat(self, requests: list[Request]) -> list[Exchange]:
        """Ask again, on new sessions; an access code is sealed anew."""
        identities = {identity.module: identity for identity in self._ground.modules}
        tills: dict[int, Till] = {}
        with closing(Generator()) as generator:
            for module in {request.module for request in requests}:
                line = Line(self._switch.address)
                [(tills[module], _)] = line.sign_on([identities[module]], self._today)
                generator.add(line)
            for request in requests:
                till = tills[request.module]
                block, code = None, access_code_of(request.card)
                if request.access_code_block is not None and code is not None:
                    random = self._random.randbytes(CODE_RANDOM_BYTES)
                    block = access_code.encode(code, request.card, till.session.access_code_key, random)
                till.seal(
                    request._replace(
                        flags=request.flags | Flag.REPEAT, access_code_block=block or request.access_code_block
                    )
                )
            generator.settle()  # what is still open is asked again, as long as that helps
        return [exchange for till in tills.values() for exchange in till.exchanges()]

    def _entries(self) -> dict[Name, Entry]:
        last, since = self._last, self._today - dt.timedelta(1)

        async def read(connection: Connection) -> list[asyncpg.Record]:
            # A month that was empty when it was last analyzed would be read whole for each module.
            await connection.execute("set enable_seqscan = off")
            return await connection.fetch(ENTRIES, list(last), list(last.values()), since)

        rows = self._ground.ask(read)
        return {(row["module"], date_number(row["date"]), row["sequence"]): Entry(*tuple(row)[3:]) for row in rows}

    def _books(self) -> list[str]:
        return [f"books: {finding}" for finding, sql in BOOKS.items() if self._ground.query(sql)]


def run_profile(
    ground: Ground, switch: Switch, profile: Profile, *, seed: int, progress: Callable[[str], None]
) -> Outcome:
    """One whole run of a profile."""
    with closing(Shift(ground, switch, profile, seed=seed, progress=progress)) as shift:
        shift.activate_cards()
        if profile.storm_modules:
            shift.weigh_sign_on()
        shift.warm_up()
        return shift.finish(shift.measure(profile.duration_s))
