"""The wire between a module and the switch, both ends, without a socket.

`layout.py` declares every frame; the codecs, the reference page `WIRE.md`, the C header and the vectors are derived
from it. `switch.SwitchConnection` and `module.ModuleConnection` take bytes and give events, take answers and give
bytes. Time and randomness are arguments, so that every sequence of events can be played again.
"""
