"""The command line: the switch itself, and with it all that the other files of this name have.

`command.py` is the frame; `cli_database`, `cli_setup`, `cli_desk` and `cli_finance` hang their commands into it.
"""

import resource
from typing import Annotated

import trio
import typer

from authsrv.shell import cli_database, cli_desk, cli_finance, cli_setup, commands  # noqa: F401 - they bring their commands
from authsrv.shell.command import COMMON, LISTENING, SERVING, app, command
from authsrv.shell.report import Report
from authsrv.shell.settings import Settings

# The switch


@command(app, "serve", (*COMMON, *SERVING))
def serve(settings: Settings) -> None:
    """Serve modules until SIGTERM or SIGINT; then take no more, finish, answer and end.

    Example:
      authsrv serve --data-dir /var/lib/authsrv --listen 0.0.0.0:7411 --metrics 127.0.0.1:9411

    JSON:
      nothing; --log-format json gives events as JSON lines on stderr
    """
    from authsrv.shell.serve import serve as serve_switch  # noqa: PLC0415 - only this command needs all of it

    serve_switch(settings)


@command(app, "demo", (*COMMON, *LISTENING))
def demo(
    settings: Settings,
    once: Annotated[bool, typer.Option("--once", help="end after the day instead of staying up")] = False,
) -> None:
    """Play a day at the tills: database, switch, modules, receipts; then stay up to be tried by hand.

    Example:
      authsrv demo --once

    JSON:
      nothing; what is played is printed as it happens
    """
    from authsrv.shell.demo import demo as play  # noqa: PLC0415 - only this command needs it

    raise typer.Exit(trio.run(lambda: play(settings, once=once)))


@command(app, "version", ())
def version(settings: Settings) -> Report:  # noqa: ARG001 - each command has them
    """Show the versions of the program, of the wire and of the schema.

    Example:
      authsrv version

    JSON:
      {"version": "0.1.0", "wire": 1, "schema": "0001"}
    """
    return commands.tell_version()


def main() -> None:
    """Run the command that the process was started with."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold keys
    app()
