-- A batch need not wait for a card that another batch holds: `gather` says which it is and goes on with the others.
--   * Two batches of 64 over 10,000 cards have one in common two times in five, and for that one all 64 waited until the other batch was on disk.
--   * Who asked for such a card is not decided. The caller takes it into its next batch, and has that one wait, so that it is put off once at most.
-- A switch that was started before this goes on with the function that it knows, and waits as before.

-- The first half of a batch's transaction: look for what has a record, lock every card that the rest may touch, take the time, then read all
-- that decisions need. A name can be recorded from so many days back to so many ahead of the day it is decided on. A batch that does not wait goes
-- on without the cards that others hold, if there is any other; `busy` are the places of those who ask for them, of whom nothing is decided.
create function gather(
    p_asked asked_row[], p_days_back integer, p_days_ahead integer, p_wait boolean,
    out registry bigint, out decided_at timestamptz, out local_at timestamp, out booked_on date, out serials bigint[], out tombstone_serials bigint[],
    out recorded recorded_row[], out numbers number_row[], out tries try_row[], out cards card_row[], out originals original_row[], out holds hold_row[], out budgets bad_cards_row[],
    out passes pass_row[], out charges charge_row[], out busy bigint[])
    language plpgsql volatile security definer set search_path = @schema@, pg_temp
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
    as $$
#variable_conflict use_column
declare
    own_id        xid8;
    least_date    date;
    greatest_date date;
    first_day     date;
    last_day      date;
    serials_from  regclass;
    digits        bigint;
    has_originals boolean;
    has_codes     boolean;
    tokens        bytea[];
    new_tokens    bytea[];
    modules       bigint[];
    numberless    bigint[] := '{}';
    known         bigint;
    seen          pg_snapshot;
    renumbered    boolean;
    elsewhere     bigint[];
    busy_tokens   bytea[];
    ids           bigint[];
    has_holds     boolean;
    has_passes    boolean;
    has_credit    boolean;
begin
    -- Its transaction has an id before it reads the open day: a day's closing waits for it from then on.
    own_id := pg_current_xact_id();

    select min(date), max(date), bool_or(original_sequence is not null or original_number is not null), bool_or(with_code),
           array_agg(distinct token) filter (where token is not null), array_agg(distinct module), array_agg(new_token) filter (where new_token is not null)
      into least_date, greatest_date, has_originals, has_codes, tokens, modules, new_tokens
      from unnest(p_asked);
    if new_tokens is not null then  -- a card that takes another's place is locked and looked up like any other
        tokens := array(select distinct t from unnest(tokens || new_tokens) t);
    end if;

    select array_agg((token, card, live)::number_row), array_agg(distinct card), count(*), pg_current_snapshot()
      into numbers, ids, known, seen
      from card_numbers where token = any (tokens);
    if has_originals then
        select array_agg(distinct c) into ids from (
            select unnest(ids)
            union all
            select a.card from unnest(p_asked) o,
                   lateral (select card from authorizations
                             where module = o.original_module and date = o.original_date and sequence = o.original_sequence offset 0) a(card)
             where o.original_sequence is not null
            union all
            select a.card from unnest(p_asked) o,
                   lateral (select card from authorizations
                             where number = o.original_number and date >= number_month(o.original_number)
                               and date < number_month(o.original_number) + interval '1 month' offset 0) a(card)
             where o.original_number is not null
        ) found(c) where c is not null;
    end if;

    -- What has a record already: before the locks, so that who waits for a busy card has looked when it is free. What is recorded under a name
    -- never changes. A name that is recorded between this and the locks is refused by `record`, and the batch begins again.
    -- A batch is mostly of one day, and one day is found in half the time: the month is chosen once for the statement, not once for each name.
    if least_date = greatest_date then
        select array_agg((r.ordinal, a.tombstone, a.number, a.decided_at, a.decided_at at time zone i.zone, a.token_key, a.digest_key, a.digest, a.answer)::recorded_row)
          into recorded
          from issuer i, unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, other, ordinal),
               lateral (select * from authorizations where module = m and date = least_date and sequence = s offset 0) a;
    else
        select array_agg((r.ordinal, a.tombstone, a.number, a.decided_at, a.decided_at at time zone i.zone, a.token_key, a.digest_key, a.digest, a.answer)::recorded_row)
          into recorded
          from issuer i, unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, other, ordinal),
               lateral (select * from authorizations where module = m and date = d and sequence = s and date between least_date and greatest_date offset 0) a;
    end if;
    if recorded is not null then
        numberless := array(select ordinal from unnest(recorded));
    end if;

    -- In the order of their ids, so that those who wait for each other's cards never do so in a circle; who has any waits for no further one. A batch of
    -- which none is free waits like one that was told to: nothing else could be done meanwhile. So does one that reaches through to other cards.
    if not (p_wait or has_originals or new_tokens is not null) then
        select array_agg((id, programme, status, verifier_key, verifier, valid_until, loads_on, loads_today, blocked, value, owed, floor, held)::card_row),
               bool_or(not pg_visible_in_snapshot(renumbered_by, seen)), bool_or(held > 0), bool_or(unit = 32769), bool_or(floor < 0 or value < 0)
          into cards, renumbered, has_holds, has_passes, has_credit
          from (select * from cards where id = any (ids) order by id for no key update skip locked) free;
        if cards is not null and cardinality(cards) < cardinality(ids) then
            elsewhere := array(select unnest(ids) except select id from unnest(cards));
        end if;
    end if;
    if cards is null then
        select array_agg((id, programme, status, verifier_key, verifier, valid_until, loads_on, loads_today, blocked, value, owed, floor, held)::card_row),
               bool_or(not pg_visible_in_snapshot(renumbered_by, seen)), bool_or(held > 0), bool_or(unit = 32769), bool_or(floor < 0 or value < 0)
          into cards, renumbered, has_holds, has_passes, has_credit
          from (select * from cards where id = any (ids) order by id for no key update) locked;
    end if;

    -- A number may have been given to another card before its card was locked. Who does that marks both cards.
    if renumbered then
        select array_agg((token, card, live)::number_row), count(*) into numbers, known from card_numbers where token = any (tokens);
    end if;

    -- Those who ask for a card that others hold are left out of all that follows.
    if elsewhere is not null then
        busy_tokens := array(select token from unnest(numbers) where card = any (elsewhere));
        tokens := array(select unnest(tokens) except select unnest(busy_tokens));
        numbers := array(select (token, card, live)::number_row from unnest(numbers) where card <> all (elsewhere));
        known := cardinality(numbers);
        busy := array(select ordinal from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, other, ordinal)
                       where token = any (busy_tokens));
        numberless := numberless || busy;
    end if;
    if known < cardinality(tokens) then
        numbers := numbers || array(select (t, null, null)::number_row from unnest(tokens) t
                                     where not exists (select from card_numbers n where n.token = t));
    end if;

    -- A card that does not exist has no row to lock: its tries stand in for it, so that guesses on two hosts are counted one after the other.
    if has_codes and known < cardinality(tokens)
       and exists (select from unnest(p_asked) r where r.with_code and not exists (select from card_numbers n where n.token = r.token)) then
        insert into tries (token, failures)
            select distinct r.token, 0 from unnest(p_asked) r
             where r.with_code and not exists (select from card_numbers n where n.token = r.token) order by r.token
            on conflict do nothing;
        perform from tries where token = any (tokens) order by token for update;
    end if;

    -- The time of the decisions: after the last lock, by the database's clock.
    decided_at := clock_timestamp();
    select i.local, v.version, greatest(i.local::date, (select max(day) + 1 from closed_days)),
           (select array_agg((b.module, b.count)::bad_cards_row) from bad_cards b where b.module = any (modules) and b.day = i.local::date),
           (select array_agg((t.token, t.failures)::try_row) from tries t where t.token = any (tokens) and t.failures > 0)
      into local_at, registry, booked_on, budgets, tries
      from (select decided_at at time zone zone as local from issuer offset 0) i, registry_version v;

    -- A number for each name that may be recorded now and has no record; one that no authorization takes is a gap, and gaps mean nothing. A month
    -- that is not made has none, and no name may carry it.
    first_day := local_at::date - p_days_back;
    last_day := local_at::date + p_days_ahead;
    if recorded is null and busy is null and least_date = greatest_date then
        serials_from := case when least_date between first_day and last_day then to_regclass('@schema@.numbers_' || to_char(least_date, 'YYYYMM')) end;
        digits := month_digits(least_date);
        serials := array(select with_check_digit(digits + serial) from (select nextval(serials_from) as serial from generate_series(1, cardinality(p_asked)) offset 0) reserved);
    else
        serials := reserve_numbers(array(
            select case when d between first_day and last_day and not ordinal = any (numberless) then d end
              from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, other, ordinal) order by ordinal));
    end if;

    -- Every name that has a number is given to `record`, which refuses what was recorded since the first look. Nothing would refuse the others
    -- (of a first try the day before, whose name is too old by now): look again for those, and refuse them as `record` would.
    if array_position(serials, null) is not null
       and exists (select from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, other, ordinal),
                          lateral (select from authorizations
                                    where module = m and date = d and sequence = s and date between least_date and greatest_date offset 0) a
                    where serials[ordinal] is null and not ordinal = any (numberless)) then
        raise exception 'a name was recorded meanwhile' using errcode = 'unique_violation', constraint = 'authorizations_pkey';
    end if;

    if has_holds then
        select array_agg((module, date, sequence, card, unit, amount, expires_at, null)::hold_row) into holds from holds where card = any (ids) and ended is null;
    end if;
    if has_passes then
        select array_agg((card, entered_at, entered_by, entries_on, entries_today, frozen_from, frozen_until)::pass_row) into passes from passes where card = any (ids);
    end if;

    if has_originals then
        select array_agg((o.ordinal, a.module, a.date, a.sequence, a.tombstone, a.number, a.command, a.result, a.reason,
                          a.unit, a.card, a.requested, a.approved, a.booked_on,
                          a.original_module, a.original_date, a.original_sequence,
                          u.reversed, u.refunded,
                          array(select (debit, credit, amount)::moved_row from unnest(a.postings) with ordinality p(debit, credit, unit, amount, place)
                                 order by place),
                          case when not a.tombstone then
                              array[a.answer] || array(select answer from pages g where g.module = a.module and g.date = a.date
                                                          and g.sequence = a.sequence order by page)
                          end,
                          case a.command when 20 then (select ended from holds h where h.module = a.module and h.date = a.date and h.sequence = a.sequence) end,
                          a.decided_at, a.term_days)::original_row)
          into originals
          from unnest(p_asked) with ordinality o(m, d, s, token, coded, om, od, os, n, other, ordinal),
               lateral (select * from authorizations where module = o.om and date = o.od and sequence = o.os
                        union all
                        select * from authorizations
                         where number = o.n and date >= number_month(o.n) and date < number_month(o.n) + interval '1 month' offset 0) a,
               lateral (select coalesce(bool_or(reversal), false) as reversed,
                               coalesce(sum(amount) filter (where not reversal), 0)::bigint as refunded
                          from undos where module = a.module and date = a.date and sequence = a.sequence offset 0) u;
        -- An original that was committed between the first look and the locks may be of a card that is not locked: begin again.
        if exists (select from unnest(originals) o where o.card is not null and not o.card = any (coalesce(ids, '{}'))) then
            raise exception 'an original arrived meanwhile' using errcode = 'serialization_failure';
        end if;
        tombstone_serials := reserve_numbers(array(
            select case when serials[r.ordinal] is not null and od between first_day and last_day and not r.ordinal = any (found.places) then od end
              from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, other, ordinal),
                   (select array(select o.ordinal from unnest(originals) o) as places) found
             order by r.ordinal));
    end if;

    -- The charges that a card's debt is made of: the newest ones, from the last backwards until they cover it, and what an undoing
    -- may add to it.
    if has_originals and not has_credit then
        has_credit := exists (select from charges where card = any (ids));
    end if;
    if has_credit then
        with recursive owing as (
            select c.id as card, greatest(-(c.value + c.owed), 0) + coalesce((select sum(o.approved) from unnest(originals) o where o.card = c.id), 0) as debt
              from unnest(cards) c where c.floor < 0 or c.value < 0 or has_originals
        ), walk as (
            select o.card, x.id, x.module, x.date, x.sequence, x.due_on, x.net, o.debt - x.net as uncovered
              from owing o, lateral (select c.*, c.amount - coalesce((select sum(u.amount) from undos u where u.module = c.module and u.date = c.date and u.sequence = c.sequence), 0) as net
                                       from charges c where c.card = o.card order by c.id desc limit 1) x
             where o.debt > 0
            union all
            select w.card, x.id, x.module, x.date, x.sequence, x.due_on, x.net, w.uncovered - x.net
              from walk w, lateral (select c.*, c.amount - coalesce((select sum(u.amount) from undos u where u.module = c.module and u.date = c.date and u.sequence = c.sequence), 0) as net
                                      from charges c where c.card = w.card and c.id < w.id order by c.id desc limit 1) x
             where w.uncovered > 0
        )
        select array_agg((card, module, date, sequence, due_on, net::bigint)::charge_row order by id) into charges from walk;
    end if;
end $$;

-- For switches of before, which wait for every card; the next revision that finds none may drop it, and the one that 0016 left.
create or replace function gather(
    p_asked asked_row[], p_days_back integer, p_days_ahead integer,
    out registry bigint, out decided_at timestamptz, out local_at timestamp, out booked_on date, out serials bigint[], out tombstone_serials bigint[],
    out recorded recorded_row[], out numbers number_row[], out tries try_row[], out cards card_row[], out originals original_row[], out holds hold_row[], out budgets bad_cards_row[],
    out passes pass_row[], out charges charge_row[])
    language plpgsql volatile security definer set search_path = @schema@, pg_temp set plan_cache_mode = force_generic_plan
    as $$
begin
    select g.* into registry, decided_at, local_at, booked_on, serials, tombstone_serials, recorded, numbers, tries, cards, originals, holds, budgets, passes, charges
      from gather(p_asked, p_days_back, p_days_ahead, true) g;
end $$;

revoke all on function gather(asked_row[], integer, integer, boolean) from public;
grant execute on function gather(asked_row[], integer, integer, boolean) to @switch_role@;
