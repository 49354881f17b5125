"""The switch in the world: sockets, the database, clocks, keys on disk, the command line."""
