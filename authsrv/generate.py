"""Write the pages about what the switch answers: the table of commands, and the results with what to do about each.

    python -m authsrv.generate           rewrite them
    python -m authsrv.generate --check   say which are not current, and end with 1

A tool of the build like `protocol.generate`; no program imports it.
"""

import sys
from pathlib import Path

from authsrv import pages
from protocol.generate import run

HERE = Path(__file__).parent


def artefacts() -> dict[Path, str]:
    """Each generated file and the text that it must have."""
    return {HERE / "TABLE.md": pages.table_page(), HERE / "RESULTS.md": pages.results_page()}


if __name__ == "__main__":
    sys.exit(run("authsrv.generate", artefacts()))
