-- What 0012 took away with the table of accounts: what a card holds back is not below zero. A negative one would let pass
-- what is not there, as all checks of a floor take it off. And a card on which nothing has moved has nothing: the views
-- of accounts show cards with a unit alone, so anything on another would stand in no books.

alter table cards
    add constraint held_never_below_zero check (held >= 0),
    add constraint nothing_without_a_unit check (unit is not null or (value = 0 and owed = 0 and held = 0 and floor = 0));
