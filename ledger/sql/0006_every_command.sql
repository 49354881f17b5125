-- Every command: blocks, new numbers and codes, closed cards, holds; `gather` and `record` as they are now, in place of those of 0005.
--
-- A hold reserves value of one card and moves none. What an account holds back is `accounts.held`, the sum of the card's open holds,
-- written by `record` and the sweep alone, from the holds that they open and end. A row of `holds` is opened once and ended once;
-- how is said by `ended`: 1 confirmed, 2 released, 3 reversed, 4 expired.
--
-- A block is a mark on a card and no state of its own, so that an unblocked card is what it was before: issued or active.

alter table cards add column blocked smallint;            -- the reason that was given; null: not blocked
update cards set blocked = 0, status = case when loads_on is null then 0 else 1 end where status = 2;
alter table cards drop constraint cards_status_check, add constraint cards_status_check check (status in (0, 1, 3));  -- 0 issued, 1 active, 3 closed

alter table accounts add column held bigint not null default 0 check (held >= 0);

create table holds (
    module     bigint not null,                           -- the name of the authorization that opened it
    date       date not null,
    sequence   bigint not null,
    card       bigint not null references cards,
    unit       integer not null,
    amount     bigint not null check (amount > 0),
    expires_at timestamptz not null,
    ended      smallint check (ended between 1 and 4),    -- null: open
    ended_at   timestamptz,
    primary key (module, date, sequence),
    constraint ended_once check ((ended is null) = (ended_at is null))
) with (fillfactor = 80);
create index on holds (card) where ended is null;
create index on holds (expires_at) where ended is null;
create trigger ended_for_good before update on holds for each row when (old.ended is not null) execute function refuse_change();
create trigger kept           before delete on holds for each row execute function refuse_change();
create trigger not_emptied    before truncate on holds for each statement execute function refuse_change();

-- Accounts that hold back another sum than their open holds make. Empty, always.
create view unbalanced_holds as
    select card, unit, coalesce(a.held, 0) as held, coalesce(h.amount, 0) as open
      from (select card, unit, held from accounts where kind = 1) a
      full join (select card, unit, sum(amount)::bigint as amount from holds where ended is null group by card, unit) h using (card, unit)
     where coalesce(a.held, 0) <> coalesce(h.amount, 0);

drop function gather(asked_row[]);
drop function record(timestamptz, date, date, authorization_row[], undo_row[], page_row[], card_change[], try_row[], bad_cards_row[]);
alter type asked_row add attribute new_token bytea;       -- a further number, that a command names beside the card's
alter type card_row add attribute blocked smallint;
alter type account_row add attribute held bigint;
alter type original_row add attribute ended smallint;     -- of a hold
alter type card_change add attribute blocked smallint, add attribute verifier_key integer, add attribute verifier bytea;
create type hold_row as (
    module bigint, date date, sequence bigint, card bigint, unit integer, amount bigint, expires_at timestamptz, ended smallint);
create type hold_end as (module bigint, date date, sequence bigint, ended smallint);
create type number_change as (token bytea, card bigint, live boolean);

-- The first half of a batch's transaction: lock every card that it may touch, take the time, then read all that decisions need.
create function gather(
    p_asked asked_row[],
    out registry bigint, out decided_at timestamptz, out local_at timestamp, out booked_on date, out serials bigint[], out tombstone_serials bigint[],
    out recorded recorded_row[], out numbers number_row[], out cards card_row[], out accounts account_row[], out originals original_row[], out holds hold_row[], out budgets bad_cards_row[])
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
    new_tokens    bytea[];
    modules       bigint[];
    known         bigint;
    ids           bigint[];
    has_holds     boolean;
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

    select array_agg((id, programme, status, verifier_key, verifier, valid_until, loads_on, loads_today, blocked)::card_row)
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
                  from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, n, other, ordinal)
                  left join lateral (select tombstone, number, decided_at, token_key, digest_key, digest, answer from authorizations
                                      where module = m and date = d and sequence = s and date = least_date offset 0) a on true offset 0) f;
    else
        select array_agg((r.ordinal, a.tombstone, a.number, a.decided_at, a.decided_at at time zone i.zone,
                          a.token_key, a.digest_key, a.digest, a.answer)::recorded_row) filter (where a.number is not null),
               reserve_numbers(array_agg(case when a.number is null then r.d end order by r.ordinal))
          into recorded, serials
          from issuer i, unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, other, ordinal)
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

    select array_agg((card, kind, balance, floor, held)::account_row), bool_or(held > 0) into accounts, has_holds from accounts where card = any (ids);
    if has_holds then
        select array_agg((module, date, sequence, card, unit, amount, expires_at, null)::hold_row) into holds from holds where card = any (ids) and ended is null;
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
                          case a.command when 20 then (select ended from holds h where h.module = a.module and h.date = a.date and h.sequence = a.sequence) end
                         )::original_row)
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
            select case when not r.ordinal = any (found.places) then r.od end
              from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, other, ordinal),
                   (select array(select o.ordinal from unnest(originals) o) as places) found
             order by r.ordinal));
    end if;
end $$;

-- The second half: writes what was decided, all of it or nothing.
create function record(
    p_decided_at timestamptz, p_booked_on date, p_today date,
    p_authorizations authorization_row[], p_undos undo_row[], p_pages page_row[],
    p_cards card_change[], p_tries try_row[], p_bad_cards bad_cards_row[], p_numbers number_change[], p_holds hold_row[], p_ended hold_end[])
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
           set status = n.status, valid_until = n.valid_until, loads_on = n.loads_on, loads_today = n.loads_today, blocked = n.blocked,
               verifier_key = n.verifier_key, verifier = n.verifier
          from unnest(p_cards) n
         where c.id = n.id;
    end if;

    if cardinality(p_numbers) > 0 then
        update card_numbers c set card = n.card, live = n.live from unnest(p_numbers) n where c.token = n.token;
    end if;

    -- What is no longer held can be moved; what is held from now on is written under its name, at the end.
    if cardinality(p_ended) > 0 then
        with gone as (
            update holds h set ended = n.ended, ended_at = p_decided_at
              from unnest(p_ended) n
             where h.module = n.module and h.date = n.date and h.sequence = n.sequence and h.ended is null
            returning h.card, h.unit, h.amount
        ), freed as (
            update accounts a set held = a.held - g.amount
              from (select card, unit, sum(amount) as amount from gone group by card, unit) g
             where a.card = g.card and a.unit = g.unit and a.kind = 1
        )
        select count(*) < cardinality(p_ended) into unknown from gone;
        if unknown then
            raise exception 'a hold that is not open ends' using errcode = 'AU008';
        end if;
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
        returning m.delta < 0 and a.balance - a.held < a.floor as overdrawn
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

    if cardinality(p_holds) > 0 then
        insert into holds (module, date, sequence, card, unit, amount, expires_at, ended, ended_at)
            select h.module, h.date, h.sequence, h.card, h.unit, h.amount, h.expires_at, h.ended, case when h.ended is not null then p_decided_at end
              from unnest(p_holds) h
             where exists (select from authorizations a where a.module = h.module and a.date = h.date and a.sequence = h.sequence
                                                          and a.card = h.card and a.unit = h.unit and a.approved = h.amount);
        get diagnostics moved = row_count;
        if moved < cardinality(p_holds) then
            raise exception 'a hold without its authorization' using errcode = 'AU003';
        end if;
        with held as (
            select card, unit, sum(amount) as amount from unnest(p_holds) where ended is null group by card, unit
        ), reserved as (
            update accounts a set held = a.held + n.amount from held n where a.card = n.card and a.unit = n.unit and a.kind = 1
            returning a.balance - a.held < a.floor as overdrawn
        )
        select bool_or(overdrawn) or count(*) < (select count(*) from held) into below from reserved;
        if below then
            raise exception 'a hold reserves more than is available' using errcode = 'AU001';
        end if;
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

-- Ends what has expired on cards that nobody asks for, at most so many holds; how many ended. Cards that are being served are left
-- out: who serves one has ended what expired of it.
create function end_expired_holds(p_most integer) returns integer
    language plpgsql volatile security definer set search_path = @schema@, pg_temp as $$
declare
    ids   bigint[];
    many  integer;
begin
    select array_agg(card) into ids
      from (select distinct card from (select card from holds where ended is null and expires_at <= clock_timestamp() order by expires_at limit p_most) due) d;
    ids := array(select id from cards where id = any (ids) order by id for no key update skip locked);
    with gone as (
        update holds set ended = 4, ended_at = clock_timestamp()
         where card = any (ids) and ended is null and expires_at <= clock_timestamp()
        returning card, unit, amount
    ), freed as (
        update accounts a set held = a.held - g.amount
          from (select card, unit, sum(amount) as amount from gone group by card, unit) g
         where a.card = g.card and a.unit = g.unit and a.kind = 1
    )
    select count(*) into many from gone;
    return many;
end $$;

revoke all on holds, unbalanced_holds from public;
revoke all on function gather, record, end_expired_holds from public;
grant execute on function gather, record, end_expired_holds to @switch_role@;
