-- The hot path after the first measurements: `gather`, `record`, and the numbers that `gather` reserves, in place of those of 0001.
-- (0007 has `gather` and `record` as they are now.)
--
-- What they must do and why is unchanged; what it costs the server is a fifth less. Of the 62 us that an authorization took in
-- the two functions, 7 were a loop over the digits of its number, 12 were looking up again what another statement had just
-- found or was about to find, and half is what no wording changes: rows and index entries written, cards locked. So:
--   * A set is looked up by `= any (array)`, which the server sorts and walks once through the index, wherever nothing hangs on
--     each element; else by `unnest ..., lateral (... offset 0)`. A name keeps the second form: its key has three columns.
--   * No statement may choose another way: plans are made once a connection, maybe when a table was empty, and kept. Scans of a
--     whole table and joins that read one are therefore switched off for both functions, which leaves loops over an index.
--     Then two sets of the same batch must not be joined either, or it is a loop in a loop: they are subtracted, or left apart.
--   * What is rarely there is asked for only when a count says that it must be: unknown cards, accounts that move for the first time.

drop function gather(asked_row[]);
drop type card_row;
create type card_row as (
    id bigint, programme integer, status smallint, verifier_key integer, verifier bytea, valid_until date, loads_on date, loads_today smallint);
create type account_row as (card bigint, kind smallint, balance bigint, floor bigint);

-- Luhn's sum of a pair of digits, the second of them doubled, by the number that the two write.
create function luhn_pair(p_pair bigint) returns integer
    language sql immutable as $$
    select get_byte('\x000204060801030507090103050709020406080a020406080a030507090b030507090b0406080a0c0406080a0c0507090b0d0507090b0d06080a0c0e06080a0c0e07090b0d0f07090b0d0f080a0c0e10080a0c0e10090b0d0f11090b0d0f110a0c0e1012', p_pair::integer)
$$;

-- Eleven digits and the one that makes them pass the Luhn test.
create function with_check_digit(p_digits bigint) returns bigint
    language sql immutable as $$
    select p_digits * 10 + (1000 - luhn_pair(p_digits % 100) - luhn_pair(p_digits / 100 % 100) - luhn_pair(p_digits / 10000 % 100)
                                 - luhn_pair(p_digits / 1000000 % 100) - luhn_pair(p_digits / 100000000 % 100) - luhn_pair(p_digits / 10000000000)) % 10
$$;

-- The first three of the 12 digits of an authorization, in their place among eleven.
create function month_digits(p_date date) returns bigint
    language sql immutable as $$
    select ((extract(year from p_date)::bigint - 2000) * 12 + extract(month from p_date)::bigint) * 100000000
$$;

-- The 12 digits of an authorization: month of the name counted from January 2000 as 001, serial within it, Luhn digit.
create or replace function authorization_number(p_date date, p_serial bigint) returns bigint
    language sql immutable strict as $$
    select with_check_digit(month_digits(p_date) + p_serial)
$$;

-- The next authorization number for each day, of its month; null for a month that is not made, which no name may carry.
create or replace function reserve_numbers(p_dates date[]) returns bigint[]
    language plpgsql volatile as $$
begin
    return (
        with months as materialized (
            select first, (first + interval '1 month')::date as next, to_regclass('@schema@.numbers_' || to_char(first, 'YYYYMM')) as numbers,
                   month_digits(first) as digits
              from (select distinct date_trunc('month', day)::date as first
                      from (select distinct day from unnest(p_dates) day where isfinite(day) offset 0) days) firsts
        )
        select array(
            select with_check_digit(digits + serial)
              from (select digits, nextval(numbers) as serial
                      from (select digits, numbers
                              from unnest(p_dates) with ordinality d(day, place) left join months m on d.day >= m.first and d.day < m.next
                             order by place offset 0) ordered offset 0) reserved));
end $$;

create function gather(
    p_asked asked_row[],
    out registry bigint, out decided_at timestamptz, out local_at timestamp, out booked_on date, out serials bigint[], out tombstone_serials bigint[],
    out recorded recorded_row[], out numbers number_row[], out cards card_row[], out accounts account_row[], out originals original_row[], out budgets bad_cards_row[])
    language plpgsql volatile security definer set search_path = @schema@, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
    as $$
#variable_conflict use_column
declare
    least_date    date;
    greatest_date date;
    has_originals boolean;
    has_codes     boolean;
    tokens        bytea[];
    known         bigint;
    ids           bigint[];
    new_dates     date[];
begin
    perform pg_current_xact_id();

    select min(date), max(date), bool_or(original_sequence is not null or original_number is not null), bool_or(with_code),
           array_agg(distinct token order by token) filter (where token is not null)
      into least_date, greatest_date, has_originals, has_codes, tokens
      from unnest(p_asked);

    select array_agg(distinct card order by card), count(*) into ids, known from card_numbers where token = any (tokens);
    if has_originals then
        select array_agg(distinct c order by c) into ids from (
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

    perform from cards where id = any (ids) order by id for no key update;

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
    select decided_at at time zone i.zone, v.version into local_at, registry from issuer i, registry_version v;
    select greatest(local_at::date, max(day) + 1) into booked_on from closed_days;

    -- What has a record already, and the dates of what has none. A batch is mostly of one day, and one day is found in half the
    -- time: the month is chosen once for the statement, not once for each name.
    if least_date = greatest_date then
        select array_agg((r.ordinal, a.tombstone, a.number, a.decided_at, a.decided_at at time zone i.zone,
                          a.token_key, a.digest_key, a.digest, a.answer)::recorded_row) filter (where a.number is not null),
               array_agg(case when a.number is null then r.d end order by r.ordinal)
          into recorded, new_dates
          from issuer i, unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, ordinal)
          left join lateral (select * from authorizations
                              where module = m and date = d and sequence = s and date = least_date offset 0) a on true;
    else
        select array_agg((r.ordinal, a.tombstone, a.number, a.decided_at, a.decided_at at time zone i.zone,
                          a.token_key, a.digest_key, a.digest, a.answer)::recorded_row) filter (where a.number is not null),
               array_agg(case when a.number is null then r.d end order by r.ordinal)
          into recorded, new_dates
          from issuer i, unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, ordinal)
          left join lateral (select * from authorizations
                              where module = m and date = d and sequence = s and date between least_date and greatest_date offset 0) a on true;
    end if;

    -- Numbers are reserved before anything is decided; one that no authorization takes is a gap, and gaps mean nothing. But a
    -- month has only so many: what has a record takes none, lest a module that repeats without end use them up.
    serials := reserve_numbers(new_dates);

    select array_agg((n.token, n.card, n.live, coalesce(y.failures, 0))::number_row), count(*)
      into numbers, known
      from card_numbers n
      left join lateral (select failures from tries where token = n.token offset 0) y on true
     where n.token = any (tokens);
    if known < cardinality(tokens) then
        numbers := numbers || array(
            select (t, null, null, coalesce(y.failures, 0))::number_row
              from unnest(tokens) t left join lateral (select failures from tries where token = t offset 0) y on true
             where not exists (select from card_numbers n where n.token = t));
    end if;

    select array_agg((id, programme, status, verifier_key, verifier, valid_until, loads_on, loads_today)::card_row)
      into cards from cards where id = any (ids);
    select array_agg((card, kind, balance, floor)::account_row) into accounts from accounts where card = any (ids);

    if has_originals then
        select array_agg((o.ordinal, a.module, a.date, a.sequence, a.tombstone, a.number, a.command, a.result, a.reason,
                          a.unit, a.card, a.requested, a.approved, a.booked_on,
                          a.original_module, a.original_date, a.original_sequence,
                          u.reversed, u.refunded, p.postings,
                          case when not a.tombstone then
                              array[a.answer] || array(select answer from pages g where g.module = a.module and g.date = a.date
                                                          and g.sequence = a.sequence order by page)
                          end)::original_row)
          into originals
          from unnest(p_asked) with ordinality o(m, d, s, token, coded, om, od, os, n, ordinal),
               lateral (select * from authorizations where module = o.om and date = o.od and sequence = o.os
                        union all
                        select * from authorizations
                         where number = o.n and date >= number_month(o.n) and date < number_month(o.n) + interval '1 month' offset 0) a,
               lateral (select coalesce(bool_or(reversal), false) as reversed,
                               coalesce(sum(amount) filter (where not reversal), 0)::bigint as refunded
                          from undos where module = a.module and date = a.date and sequence = a.sequence offset 0) u,
               lateral (select array_agg((debit, credit, amount)::moved_row order by ordinal) as postings
                          from postings where module = a.module and date = a.date and sequence = a.sequence offset 0) p;
        -- An original that was committed between the first look and the locks may be of a card that is not locked: begin again.
        if exists (select from unnest(originals) o where o.card is not null and not o.card = any (coalesce(ids, '{}'))) then
            raise exception 'an original arrived meanwhile' using errcode = 'serialization_failure';
        end if;
        tombstone_serials := reserve_numbers(array(
            select case when not r.ordinal = any (found.places) then r.od end
              from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, ordinal),
                   (select array(select o.ordinal from unnest(originals) o) as places) found
             order by r.ordinal));
    end if;

    select array_agg((b.module, b.count)::bad_cards_row) into budgets
      from bad_cards b
     where b.module = any (array(select distinct module from unnest(p_asked))) and b.day = local_at::date;
end $$;

create or replace function record(
    p_decided_at timestamptz, p_booked_on date, p_today date,
    p_authorizations authorization_row[], p_postings posting_row[], p_undos undo_row[], p_pages page_row[],
    p_cards card_change[], p_tries try_row[], p_bad_cards bad_cards_row[])
    returns void
    language plpgsql volatile security definer set search_path = @schema@, pg_temp set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
    as $$
declare
    asked bigint;
    moved bigint;
    below boolean;
    kinds smallint[];
begin
    if cardinality(p_cards) > 0 then
        update cards c
           set status = n.status, valid_until = n.valid_until, loads_on = n.loads_on, loads_today = n.loads_today
          from unnest(p_cards) n
         where c.id = n.id;
    end if;

    if cardinality(p_postings) > 0 then
        if exists (select module, date, sequence from unnest(p_postings) except select module, date, sequence from unnest(p_authorizations)) then
            raise exception 'a posting without its authorization' using errcode = 'AU003';
        end if;
        kinds := array(select kind from account_kinds);
        if exists (select from unnest(p_postings) where debit <> all (kinds) or credit <> all (kinds)) then
            raise exception 'a posting on an account that does not exist' using errcode = 'AU006';
        end if;
        if exists (select from closed_days where day >= p_booked_on and closed_at is not null) then
            raise exception 'a posting on a day that is closed' using errcode = 'AU007';
        end if;

        -- Balances follow from the postings and from nothing else.
        with movement as (
            select p.card, k.kind, p.unit, sum(k.signed)::bigint as delta
              from unnest(p_postings) p, lateral (values (p.debit, -p.amount), (p.credit, p.amount)) k(kind, signed)
             where k.kind < 100
             group by p.card, k.kind, p.unit
        ), moved as (
            update accounts a set balance = a.balance + m.delta
              from movement m
             where a.card = m.card and a.kind = m.kind and a.unit = m.unit
            returning m.delta < 0 and a.balance < a.floor as overdrawn
        )
        select (select count(*) from movement), count(*), bool_or(m.overdrawn) into asked, moved, below from moved m;
        if moved < asked then
            -- An account that moves for the first time gets its row here.
            with opened as (
                insert into accounts (card, kind, unit, balance, floor)
                    select p.card, k.kind, p.unit, sum(k.signed)::bigint, case when k.kind = 1 then 0 end
                      from unnest(p_postings) p, lateral (values (p.debit, -p.amount), (p.credit, p.amount)) k(kind, signed)
                     where k.kind < 100
                       and not exists (select from accounts a where a.card = p.card and a.kind = k.kind and a.unit = p.unit)
                     group by p.card, k.kind, p.unit
                returning balance < floor as overdrawn
            )
            select below or bool_or(o.overdrawn) into below from opened o;
        end if;
        if below then
            raise exception 'a movement ends below the floor of an account' using errcode = 'AU001';
        end if;
    end if;

    if cardinality(p_tries) > 0 then
        insert into tries (token, failures)
            select token, failures from unnest(p_tries) order by token
            on conflict (token) do update set failures = excluded.failures;
    end if;

    if cardinality(p_bad_cards) > 0 then
        insert into bad_cards (module, day, count)
            select module, p_today, count from unnest(p_bad_cards) order by module
            on conflict (module, day) do update set count = bad_cards.count + excluded.count;
    end if;

    -- Names are the last lock and taken in order: two hosts that record the same names wait for each other here, never in a
    -- circle. What hangs on a name is written under it, so that a name that is taken breaks as a name and as nothing else.
    insert into authorizations (
            module, date, sequence, number, decided_at, booked_on, tombstone, command, result, reason, programme, programme_version,
            branch, unit, card, requested, approved, cashier, original_module, original_date, original_sequence,
            token_key, digest_key, digest, answer)
        select module, date, sequence, number, p_decided_at, p_booked_on, tombstone, command, result, reason, programme, programme_version,
               branch, unit, card, requested, approved, cashier, original_module, original_date, original_sequence,
               token_key, digest_key, digest, answer
          from unnest(p_authorizations)
         order by module, date, sequence;

    if cardinality(p_postings) > 0 then
        insert into postings (module, date, sequence, ordinal, debit, credit, unit, card, amount, decided_at, booked_on)
            select module, date, sequence, ordinal, debit, credit, unit, card, amount, p_decided_at, p_booked_on from unnest(p_postings);
    end if;

    if cardinality(p_pages) > 0 then
        insert into pages (module, date, sequence, page, answer) select module, date, sequence, page, answer from unnest(p_pages);
    end if;

    if cardinality(p_undos) > 0 then
        insert into undos (module, date, sequence, reversal, amount, by_module, by_date, by_sequence)
            select module, date, sequence, reversal, amount, by_module, by_date, by_sequence from unnest(p_undos);
        if exists (select from (select distinct module, date, sequence from unnest(p_undos)) undone(m, d, s)
                     left join lateral (select approved from authorizations where module = m and date = d and sequence = s offset 0) a on true,
                          lateral (select coalesce(sum(amount) filter (where not reversal), 0) as refunded, bool_or(reversal) as reversed
                                     from undos where module = m and date = d and sequence = s offset 0) u
                    where approved is null or refunded > approved or refunded < 0 or (reversed and refunded > 0)) then
            raise exception 'more is undone than was approved' using errcode = 'AU005';
        end if;
    end if;
end $$;

revoke all on function gather, luhn_pair, with_check_digit, month_digits from public;
grant execute on function gather to @switch_role@;
