"""Write what comes from the wire's declarations: the reference page, the C header and the known answers.

    python -m protocol.generate           rewrite them
    python -m protocol.generate --check   say which are not current, and end with 1

This is a tool of the build, run by hand and by CI; no program imports it.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from protocol import c_header, examples, reference

HERE = Path(__file__).parent


def artefacts() -> dict[Path, str]:
    """Each generated file and the text that it must have."""
    return {
        HERE / "WIRE.md": reference.page(),
        HERE / "authsrv_wire.h": c_header.text(),
        HERE / "vectors" / "vectors.json": examples.text(),
    }


def stale(wanted: Mapping[Path, str]) -> list[Path]:
    """The files that are absent, or whose text is another."""
    return [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]


def run(program: str, wanted: Mapping[Path, str], given: Sequence[str] | None = None) -> int:
    """Write the files, or only check them; gives the exit status. `given` are the words behind the program's name."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description="Write the generated files.")
    parser.add_argument("--check", action="store_true", help="change nothing; end with 1 if a file is not current")
    if parser.parse_args(given).check:
        for path in (found := stale(wanted)):
            sys.stderr.write(f"{os.path.relpath(path)} is not current: run `make generate`\n")
        return 1 if found else 0
    for path, text in wanted.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run("protocol.generate", artefacts()))
