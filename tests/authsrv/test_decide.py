"""What the switch decides, seen from a till: one request a batch, through the real ledger."""

from protocol.messages import OriginalName
from protocol.numbers import Command, Flag, Reason, Result
from shop import BARE, CODE, CODED, DESK, OTHER, UNKNOWN, Shop, name_of


async def test_activation_puts_value_on_a_card_and_a_sale_takes_it(shop: Shop) -> None:
    """50.00 are loaded, 12.50 are spent, 37.50 are left, by the answers and by the ledger."""
    till = shop.till()
    activated = await till.activate(BARE, 5000)
    assert (activated.result, activated.approved, activated.balance) == (Result.APPROVED, 5000, 5000)
    sold = await till.sale(BARE, 1250)
    assert (sold.result, sold.approved, sold.balance) == (Result.APPROVED, 1250, 3750)
    assert await shop.balance(BARE) == 3750
    await shop.check_books()
