"""What a module prints: facts go in, lines come out, then bytes, then pages. Shared by the switch and the module."""
