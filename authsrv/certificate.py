"""Which modules a client certificate may carry.

A connection over TLS with client certificates belongs to a shop or a concentrator; its certificate lists the modules
that may sign on over it, as URIs in its subject alternative names: `authsrv:module:1001` or
`authsrv:modules:1001-1016`. A certificate that lists none carries none.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LISTED = re.compile(r"authsrv:modules?:(\d{1,10})(?:-(\d{1,10}))?")


@dataclass(frozen=True, slots=True)
class CarriedModules:
    """The modules of one certificate, as ranges."""

    ranges: tuple[range, ...]

    def __contains__(self, module: int) -> bool:
        return any(module in listed for listed in self.ranges)


def carried_modules(certificate: Mapping[str, Any]) -> CarriedModules:
    """The modules that a peer's certificate lists, given as `ssl.SSLSocket.getpeercert` returns it."""
    listed = (_LISTED.fullmatch(value) for kind, value in certificate.get("subjectAltName", ()) if kind == "URI")
    return CarriedModules(tuple(range(int(found[1]), int(found[2] or found[1]) + 1) for found in listed if found))
