"""How a module's keys leave, once: into a new kit file, onto the screen, or as a QR code for a device with a camera.

They go nowhere unless somebody names the way, also not into `--json`, which ends up in logs: there `keys` is null
without --show-key and `qr` without --qr. A QR code holds what stands in a kit's `modules`, as compact JSON.

Two components (`--components 2`) are for two people who trust each other less than both together. The first run enrols
the module, with a random key, and hands out component 1; the second component stays in the database, wrapped as the
module's key itself, until the second person's run hands it out and has it forgotten. So the module is enrolled once,
with everything that is said of it; neither person ever sees the other's component, and nobody sees one twice; and the
database never holds more than it holds anyway. To draw both components apart and enrol at the second run would hide no
more from anybody, since who can open one wrapped key can open all.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import segno

from authsrv.shell.settings import SettingsError
from protocol.components import Component
from protocol.signon import ModuleIdentity

Keys = ModuleIdentity | Component


@dataclass(frozen=True, slots=True)
class Ways:
    """The ways that somebody named. Raises `SettingsError` for none: the keys would be nowhere."""

    kit: Path | None
    show_key: bool
    qr: bool

    def __post_init__(self) -> None:
        if self.kit is None and not self.show_key and not self.qr:
            raise SettingsError(
                "--kit is not given; name a new file for the module's keys, or see them with --show-key or --qr"
            )

    def values(self, keys: Keys) -> dict[str, Any]:
        """What `--json` tells of the keys."""
        return {
            "kit": None if self.kit is None else str(self.kit),
            "keys": keys.to_json() if self.show_key else None,
            "qr": _compact(keys) if self.qr else None,
        }

    def lines(self, keys: Keys) -> tuple[str, ...]:
        """What a person is told of them."""
        shown = keys.to_json() if self.show_key else {}
        return (
            *(
                []
                if self.kit is None
                else [f"its keys are in {self.kit}; bring them to the module and delete the file"]
            ),
            *(f"{key} {value}" for key, value in shown.items()),
            *(_picture(_compact(keys)) if self.qr else ()),
        )


def _compact(keys: Keys) -> str:
    return json.dumps(keys.to_json(), separators=(",", ":"))


def _picture(text: str) -> list[str]:
    out = io.StringIO()
    segno.make_qr(text, error="m").terminal(out=out, compact=True)
    return out.getvalue().splitlines()
