"""The door: one crossing, a shielded COMMIT, and every foreign error in the ledger's words."""

from ledger.shell.door import check_server


async def test_a_fresh_issuer_is_fit(door) -> None:
    """The server, role and schema that we make ourselves pass our own check."""
    await door.run(check_server)
