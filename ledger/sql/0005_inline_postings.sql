-- Postings stand in the row of the authorization that they follow from, no longer in rows of their own; `gather`, `record` and
-- `make_month` as they are now, in place of those of 0002 and 0003.
--
-- A row of its own for every posting cost the server a quarter of an authorization: a heap row that repeated name, card and time, an
-- entry in its key and one in the index by card. What asks for postings asks the view of that name, as before. Beside that:
--   * A posting is a value of the domain `posting`, which refuses what cannot be one as soon as it arrives.
--   * A card's history is found by the index on authorizations; those that moved nothing are not in it.
--   * What is locked is read by the statement that locks it: one table and no join, so that each row is as it stands under the lock.
--   * What needs no statement of its own goes along with another: for a small batch a statement costs more than its rows.

-- One movement: two kinds of account, a unit, an amount above zero; one side at least is the issuer's.
create type posted as (debit smallint, credit smallint, unit integer, amount bigint);
create domain posting as posted
    constraint complete check ((value).debit is not null and (value).credit is not null and (value).unit is not null and (value).amount is not null)
    constraint two_accounts check ((value).debit <> (value).credit)
    constraint one_side_is_the_issuers check ((value).debit >= 100 or (value).credit >= 100)
    constraint something_moves check ((value).amount > 0);

-- A card is named wherever something moved: one `card` column names the side of a posting that is not the issuer's.
alter table authorizations add column postings posting[], add constraint card_named check (card is not null or postings is null);

-- What was recorded before is carried over by the owner, who alone can; what it says stays as it was.
alter table authorizations disable trigger append_only;
update authorizations a
   set postings = p.postings
  from (select module, date, sequence, array_agg((debit, credit, unit, amount)::posted::posting order by ordinal) as postings
          from postings group by module, date, sequence) p
 where a.module = p.module and a.date = p.date and a.sequence = p.sequence;
alter table authorizations enable trigger append_only;

create index on authorizations (card, decided_at) where postings is not null;
create index on authorizations using brin (booked_on);

alter table postings rename to postings_of_their_own;
create view postings as
    select a.module, a.date, a.sequence, p.ordinal::smallint as ordinal, p.debit, p.credit, p.unit, a.card, p.amount, a.decided_at, a.booked_on
      from authorizations a, unnest(a.postings) with ordinality p(debit, credit, unit, amount, ordinal)
     where a.postings is not null;
create or replace view movements as
    select p.module, p.date, p.sequence, p.ordinal, k.kind, case when k.kind < 100 then p.card end as card, p.unit, k.signed, p.decided_at, p.booked_on
      from postings p, lateral (values (p.debit, -p.amount), (p.credit, p.amount)) k(kind, signed);
drop table postings_of_their_own;

-- Makes the month of `p_month` in all three partitioned tables and its number sequence; does nothing where it exists.
-- LIKE and ATTACH do not block writers, as long as no foreign key joins partitioned tables.
create or replace function make_month(p_month date) returns boolean
    language plpgsql volatile security definer set search_path = @schema@, pg_temp as $$
declare
    first  date := date_trunc('month', p_month);
    suffix text := to_char(first, 'YYYYMM');
    parent text;
begin
    if exists (select from pg_class where relnamespace = '@schema@'::regnamespace and relname = 'numbers_' || suffix) then
        return false;
    end if;
    perform pg_advisory_xact_lock(hashtextextended('@schema@.make_month', 0));
    if exists (select from pg_class where relnamespace = '@schema@'::regnamespace and relname = 'numbers_' || suffix) then
        return false;
    end if;
    foreach parent in array array['authorizations', 'pages', 'undos'] loop
        execute format('create table %I (like %I including all)', parent || '_' || suffix, parent);
        execute format('create trigger not_emptied before truncate on %I for each statement execute function refuse_change()',
                       parent || '_' || suffix);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)',
                       parent, parent || '_' || suffix, first, first + interval '1 month');
    end loop;
    execute format('create unique index on %I (number)', 'authorizations_' || suffix);
    execute format('create sequence %I as bigint maxvalue 99999999', 'numbers_' || suffix);
    return true;
end $$;

-- The first half of a batch's transaction: lock every card that it may touch, take the time, then read all that decisions need.
drop function gather(asked_row[]);
create function gather(
    p_asked asked_row[],
    out registry bigint, out decided_at timestamptz, out local_at timestamp, out booked_on date, out serials bigint[], out tombstone_serials bigint[],
    out recorded recorded_row[], out numbers number_row[], out cards card_row[], out accounts account_row[], out originals original_row[], out budgets bad_cards_row[])
    language plpgsql volatile security definer set search_path = @schema@, pg_temp
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
    as $$
#variable_conflict use_column
declare
    own_id        xid8;
    least_date    date;
    greatest_date date;
    serials_from  regclass;
    digits        bigint;
    has_originals boolean;
    has_codes     boolean;
    tokens        bytea[];
    modules       bigint[];
    known         bigint;
    ids           bigint[];
begin
    -- Its transaction has an id before it reads the open day: a day's closing waits for it from then on.
    own_id := pg_current_xact_id();

    select min(date), max(date), bool_or(original_sequence is not null or original_number is not null), bool_or(with_code),
           array_agg(distinct token) filter (where token is not null), array_agg(distinct module)
      into least_date, greatest_date, has_originals, has_codes, tokens, modules
      from unnest(p_asked);

    select array_agg(distinct card), count(*) into ids, known from card_numbers where token = any (tokens);
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

    select array_agg((id, programme, status, verifier_key, verifier, valid_until, loads_on, loads_today)::card_row)
      into cards
      from (select * from cards where id = any (ids) order by id for no key update) locked;

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
           (select array_agg((b.module, b.count)::bad_cards_row) from bad_cards b where b.module = any (modules) and b.day = i.local::date)
      into local_at, registry, booked_on, budgets
      from (select decided_at at time zone zone as local from issuer offset 0) i, registry_version v;

    -- What has a record already, and a number for what has none. Numbers are reserved before anything is decided; one that no
    -- authorization takes is a gap, and gaps mean nothing. But a month has only so many: what has a record takes none, lest a module
    -- that repeats without end use them up. A batch is mostly of one day, and one day is found in half the time: the month is chosen
    -- once for the statement, not once for each name. A month that is not made has no numbers, and no name may carry it.
    if least_date = greatest_date then
        digits := month_digits(least_date);
        serials_from := to_regclass('@schema@.numbers_' || to_char(least_date, 'YYYYMM'));
        select array_agg((f.ordinal, f.tombstone, f.number, f.decided_at, f.decided_at at time zone i.zone,
                          f.token_key, f.digest_key, f.digest, f.answer)::recorded_row) filter (where f.number is not null),
               array_agg(with_check_digit(digits + f.serial) order by f.ordinal)
          into recorded, serials
          from issuer i,
               (select r.ordinal, a.*, case when a.number is null then nextval(serials_from) end as serial
                  from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, ordinal)
                  left join lateral (select tombstone, number, decided_at, token_key, digest_key, digest, answer from authorizations
                                      where module = m and date = d and sequence = s and date = least_date offset 0) a on true offset 0) f;
    else
        select array_agg((r.ordinal, a.tombstone, a.number, a.decided_at, a.decided_at at time zone i.zone,
                          a.token_key, a.digest_key, a.digest, a.answer)::recorded_row) filter (where a.number is not null),
               reserve_numbers(array_agg(case when a.number is null then r.d end order by r.ordinal))
          into recorded, serials
          from issuer i, unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, ordinal)
          left join lateral (select * from authorizations
                              where module = m and date = d and sequence = s and date between least_date and greatest_date offset 0) a on true;
    end if;

    -- Again, since a number may have been replaced before its card was locked.
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

    select array_agg((card, kind, balance, floor)::account_row) into accounts from accounts where card = any (ids);

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
                          end)::original_row)
          into originals
          from unnest(p_asked) with ordinality o(m, d, s, token, coded, om, od, os, n, ordinal),
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
            select case when not r.ordinal = any (found.places) then r.od end
              from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, ordinal),
                   (select array(select o.ordinal from unnest(originals) o) as places) found
             order by r.ordinal));
    end if;
end $$;

-- The second half: writes what was decided, all of it or nothing.
drop function record(timestamptz, date, date, authorization_row[], posting_row[], undo_row[], page_row[], card_change[], try_row[], bad_cards_row[]);
drop type posting_row;
alter type authorization_row add attribute postings posting[];
create function record(
    p_decided_at timestamptz, p_booked_on date, p_today date,
    p_authorizations authorization_row[], p_undos undo_row[], p_pages page_row[],
    p_cards card_change[], p_tries try_row[], p_bad_cards bad_cards_row[])
    returns void
    language plpgsql volatile security definer set search_path = @schema@, pg_temp
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set plan_cache_mode = force_generic_plan
    as $$
declare
    asked   bigint;
    moved   bigint;
    below   boolean;
    unknown boolean;
    closed  boolean;
begin
    if cardinality(p_cards) > 0 then
        update cards c
           set status = n.status, valid_until = n.valid_until, loads_on = n.loads_on, loads_today = n.loads_today
          from unnest(p_cards) n
         where c.id = n.id;
    end if;

    -- Balances follow from the postings and from nothing else.
    with side as materialized (
        select a.card, k.kind, p.unit, k.signed
          from unnest(p_authorizations) a, unnest(a.postings) p, lateral (values (p.debit, -p.amount), (p.credit, p.amount)) k(kind, signed)
    ), movement as (
        select card, kind, unit, sum(signed)::bigint as delta from side where kind < 100 group by card, kind, unit
    ), moved as (
        update accounts a set balance = a.balance + m.delta
          from movement m
         where a.card = m.card and a.kind = m.kind and a.unit = m.unit
        returning m.delta < 0 and a.balance < a.floor as overdrawn
    )
    select (select count(*) from movement), count(*), bool_or(m.overdrawn),
           exists (select from side where kind <> all (array(select kind from account_kinds))),
           exists (select from side) and exists (select from closed_days where day >= p_booked_on and closed_at is not null)
      into asked, moved, below, unknown, closed
      from moved m;
    if unknown then
        raise exception 'a posting on an account that does not exist' using errcode = 'AU006';
    end if;
    if closed then
        raise exception 'a posting on a day that is closed' using errcode = 'AU007';
    end if;
    if moved < asked then
        -- An account that moves for the first time gets its row here.
        with opened as (
            insert into accounts (card, kind, unit, balance, floor)
                select a.card, k.kind, p.unit, sum(k.signed)::bigint, case when k.kind = 1 then 0 end
                  from unnest(p_authorizations) a, unnest(a.postings) p, lateral (values (p.debit, -p.amount), (p.credit, p.amount)) k(kind, signed)
                 where k.kind < 100
                   and not exists (select from accounts b where b.card = a.card and b.kind = k.kind and b.unit = p.unit)
                 group by a.card, k.kind, p.unit
            returning balance < floor as overdrawn
        )
        select below or bool_or(o.overdrawn) into below from opened o;
    end if;
    if below then
        raise exception 'a movement ends below the floor of an account' using errcode = 'AU001';
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
            token_key, digest_key, digest, answer, postings)
        select module, date, sequence, number, p_decided_at, p_booked_on, tombstone, command, result, reason, programme, programme_version,
               branch, unit, card, requested, approved, cashier, original_module, original_date, original_sequence,
               token_key, digest_key, digest, answer, postings
          from unnest(p_authorizations)
         order by module, date, sequence;

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

revoke all on function gather, record from public;
grant execute on function gather, record to @switch_role@;
