"""The load-test harness: how fast the switch is, and whether all that it said is true."""
