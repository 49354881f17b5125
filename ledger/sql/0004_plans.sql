-- The statements of the hot path are planned once a connection, as 0002 says; the server planned them for every batch.
--
-- A plan that fits any arguments is kept only where the server thinks that it costs no more than one made anew, and it takes
-- an array whose length it does not know for one of ten: for a batch of fewer it kept on planning, some fifteen statements a
-- transaction. What plans may do is bounded by 0002's settings anyway: an index, or a loop over one.

alter function gather(asked_row[]) set plan_cache_mode = force_generic_plan;
alter function record(timestamptz, date, date, authorization_row[], posting_row[], undo_row[], page_row[], card_change[], try_row[], bad_cards_row[])
    set plan_cache_mode = force_generic_plan;
