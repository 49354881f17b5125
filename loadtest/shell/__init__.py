"""The only part of `loadtest` that touches processes, sockets, clocks and files."""
