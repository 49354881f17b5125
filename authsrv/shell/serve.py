"""One process of the switch, from its start to the end of its drain.

Start: nothing is accepted before the server, the role, the schema and the keys have been looked at. End: on the first
SIGTERM or SIGINT no connection and no request is taken any more, what was taken is settled and answered, then
sessions are closed; all within `drain_s`, after which what is left is broken off. Broken off in COMMIT is in doubt,
never lost: its module repeats.
"""

import gc
import logging
import resource
import signal
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import trio
from prometheus_client import start_http_server

from authsrv.shell.deal import FILES_A_WORKER, Deal
from authsrv.shell.lanes import Lanes
from authsrv.shell.listener import Caps, Listener
from authsrv.shell.reads import READERS, Reads
from authsrv.shell.rules import Rules
from authsrv.shell.settings import Address, Settings
from authsrv.shell.sockets import listen
from authsrv.shell.tls import tls_context
from authsrv.shell.workers import Worker, fork
from ledger.faults import LedgerFault
from ledger.shell import store
from ledger.shell.cores import Core, core_of
from ledger.shell.database import open_database
from ledger.shell.door import Door, check_server, open_door
from protocol.switch import Limits

logger = logging.getLogger(__name__)

MONTHS_S = 3600.0
SWEEP_S = 20.0
SWEPT_MOST = 500  # holds in one transaction: cards of it wait that long
COLLECTED_AFTER = 70_000  # objects more than were given back; Python's own is 700
SPARE_CONNECTIONS = 4  # for the watcher, the months, the sweep and next root keys
FILES_BESIDES = 126  # what a process opens besides: the connections to the database above all


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What a switch process is told at its start."""

    host: str = "127.0.0.1"
    port: int = 7411
    deal: Deal | None = None  # with the other processes on the same port
    tls: ssl.SSLContext | None = None
    lanes: int = 2
    batch_max: int = 256
    waiting_max: int = 4096
    drain_s: float = 10.0
    limits: Limits = field(default_factory=Limits)
    caps: Caps = field(default_factory=Caps)
    metrics: tuple[str, int] | None = None
    core: Core | None = None  # that it keeps to, with the server's processes that work for it


async def run_switch(
    service: Service,
    switch_dsn: str,
    schema: str,
    kek: bytes,
    stop: trio.Event,
    task_status: trio.TaskStatus[list[tuple[str, int]]] = trio.TASK_STATUS_IGNORED,
    *,
    key_source: Callable[[], Sequence[bytes]] = lambda: (),
) -> None:
    """Serve until `stop` is set and the drain is over; `task_status` tells the addresses that are listened on.

    Where `kek` opens the keys no more, `key_source` is asked for those that may.

    Raises Unfit for a server, role or schema that must not be worked with, KeyFault for a wrong key-encryption key,
    OSError where an address cannot be listened on, and the other faults of the ledger where the database does not
    answer at the start.
    """
    connections = service.lanes + READERS + SPARE_CONNECTIONS
    async with open_door(switch_dsn, schema=schema, connections=connections, core=service.core) as door:
        await door.run(check_server)
        await door.run(store.make_months)
        rules = Rules(kek, key_source)
        await rules.load(door)
        _collect_rarely()
        await _Process(service, door, rules).run(stop, task_status)


def _collect_rarely() -> None:
    """Look for garbage in cycles a hundred times less often than Python does.

    Requests leave none, and looking took a fifth of the time of a request (`loadtest/RESULTS.md`); what is there at the
    start stays, so it is never looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_AFTER, 10, 10)


@contextmanager
def _naming(option: str, host: str, port: int) -> Iterator[None]:
    """Put the address and the option that moves it into the error of one that cannot be listened on."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror or error}, give another {option}"
        raise OSError(error.errno, what, str(Address(host, port))) from None


class _Process:
    """The parts of one process, started and ended in their order."""

    def __init__(self, service: Service, door: Door, rules: Rules) -> None:
        self._service = service
        self._door = door
        self._rules = rules
        self._lanes = Lanes(
            door, rules, lanes=service.lanes, batch_max=service.batch_max, waiting_max=service.waiting_max
        )
        self._reads = Reads(door, rules, waiting_max=service.waiting_max)
        self._listener = Listener(rules, self._lanes, self._reads, service.limits, service.caps)
        self._settled = trio.Event()
        rules.when_changed(self._listener.revoke)

    async def run(self, stop: trio.Event, task_status: trio.TaskStatus[list[tuple[str, int]]]) -> None:
        service = self._service
        with _naming("--listen", service.host, service.port):
            listening = listen(service.host, service.port, shared=service.deal is not None)
        if service.metrics is not None:
            with _naming("--metrics", *service.metrics):
                start_http_server(service.metrics[1], service.metrics[0])
        async with trio.open_nursery() as working:
            working.start_soon(self._settle)
            working.start_soon(self._rules.watch, self._door)
            working.start_soon(self._make_months)
            working.start_soon(self._sweep)
            working.start_soon(self._listener.generations.run, self._door)
            working.start_soon(self._listener.run)
            async with trio.open_nursery() as doorway:
                doorway.start_soon(self._listener.accept, listening, service.tls, service.deal)
                addresses = [each.getsockname()[:2] for each in listening]
                logger.info("listening on %s", ", ".join(f"{host}:{port}" for host, port in addresses))
                task_status.started(addresses)
                await stop.wait()
                doorway.cancel_scope.cancel()
            await self._drain()
            working.cancel_scope.cancel()

    async def _settle(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lanes.run)
            nursery.start_soon(self._reads.run)
        self._settled.set()

    async def _drain(self) -> None:
        logger.info("draining")
        self._listener.drain()
        self._lanes.close()
        self._reads.close()
        settled = False
        try:
            with trio.move_on_after(self._service.drain_s):
                await self._settled.wait()
                await self._listener.hang_up()
                settled = True
        finally:  # also when a second signal ends the drain: a crossing is shielded, only this ends its wait
            if not settled:
                logger.warning("not all was settled in time; the rest is broken off")
                self._door.abandon()

    async def _make_months(self) -> None:
        """Make next month's partitions long before its first name comes."""
        while True:
            await trio.sleep(MONTHS_S)
            try:
                await self._door.run(store.make_months)
            except LedgerFault as fault:
                logger.warning("the coming months could not be made: %s", type(fault).__name__)

    async def _sweep(self) -> None:
        """End what has expired on cards that nobody asks for; every law holds without it (law 5)."""
        while True:
            await trio.sleep(SWEEP_S)
            for sweep in (store.end_expired_holds, store.lapse_passes):
                try:
                    while await self._door.run(sweep(SWEPT_MOST)) >= SWEPT_MOST:
                        pass
                except LedgerFault as fault:
                    logger.warning("what has expired could not be ended: %s", type(fault).__name__)


def serve(settings: Settings) -> None:
    """Serve as the settings say until SIGTERM or SIGINT; raises what `run_switch`, the database and the key file do."""
    if settings.workers == 1:
        trio.run(_serve, settings, None)
        return
    with _naming(
        "--listen", settings.listen.host, settings.listen.port
    ):  # a port of somebody else's, who shares it too
        for each in listen(settings.listen.host, settings.listen.port, shared=False):
            each.close()
    trio.run(_serve, settings, fork(settings.workers))


async def _serve(settings: Settings, worker: Worker | None) -> None:
    async with open_database(**settings.place) as database:
        await serve_until_signalled(
            service_of(settings, worker),
            database.switch_dsn,
            database.schema,
            settings.key_encryption_key(),
            worker.lifeline if worker else None,
            settings.key_encryption_keys,
        )


def lanes_for(workers: int) -> int:
    """How many lanes a worker has where nobody says: two in all at least, so that one computes while another commits.

    More make smaller batches, which cost more CPU for each request (`loadtest/RESULTS.md`).
    """
    return 2 if workers == 1 else 1


def service_of(settings: Settings, worker: Worker | None = None) -> Service:
    """What the settings mean for this process, which is given room for its connections.

    Raises SettingsError for certificates that cannot be used.
    """
    place = worker.place if worker else 0
    lanes = settings.lanes or lanes_for(settings.workers)
    alone = worker is not None and lanes == 1  # several lanes of a worker could use several cores
    return Service(
        host=settings.listen.host,
        port=settings.listen.port,
        deal=worker.deal if worker else None,
        tls=tls_context(settings.tls_certificate, settings.tls_key, settings.tls_client_ca),
        lanes=lanes,
        batch_max=settings.batch_max,
        waiting_max=settings.waiting_max,
        drain_s=settings.drain_s,
        caps=Caps(_make_room(settings.connections_max, settings.workers), settings.sessions_max),
        metrics=(settings.metrics.host, settings.metrics.port + place) if settings.metrics else None,
        core=core_of(place, settings.workers) if alone and settings.keep_to_cores else None,
    )


def _make_room(connections_max: int, workers: int) -> int:
    """Let this process, one of so many, open the files that its connections need; how many it has room for.

    Without, whoever connects and says nothing could use up what the database is reached through.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    besides = FILES_BESIDES + FILES_A_WORKER * workers
    needed = connections_max + besides
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections_max
    room = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
    taken = max(1, room - besides)
    if taken < connections_max:
        logger.warning("this process may open %d files: it takes %d of %d connections", room, taken, connections_max)
    return taken


async def serve_until_signalled(
    service: Service,
    switch_dsn: str,
    schema: str,
    kek: bytes,
    lifeline: int | None = None,
    key_source: Callable[[], Sequence[bytes]] = lambda: (),
) -> None:
    """Serve until SIGTERM or SIGINT, or until `lifeline` ends, drain, and return; a second signal ends the drain."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

            async def heed() -> None:
                async for _ in signals:
                    if stop.is_set():
                        nursery.cancel_scope.cancel()
                    stop.set()

            async def hold() -> None:
                if lifeline is not None:
                    await trio.lowlevel.wait_readable(lifeline)
                    stop.set()

            nursery.start_soon(heed)
            nursery.start_soon(hold)
            await run_switch(service, switch_dsn, schema, kek, stop, key_source=key_source)
            nursery.cancel_scope.cancel()
