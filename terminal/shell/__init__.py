"""The part of the module that touches the world: sockets, clocks, files."""
