-- Passes and local credit beside gift cards, and totals; `gather` and `record` as they are now, in place of those of 0006.
--
--   * A pass is a card whose value is counted in visits (unit 32769). What it is besides its value stands in `passes`. When its end has
--     passed, what is left of it lapses: a posting that follows from no request, in a row of `lapses`, by whoever locks the card first.
--   * A local credit card's floor is minus its limit, so that its value is minus its debt. Its charges are kept in the order in which
--     they came; payments settle the oldest first, so that the newest ones that add up to the debt are those that are open.
--   * Totals are kept with what both sides counted: an authorization that arrives behind them shows as a difference.

insert into account_kinds values (103, 'lapsed', false);  -- visits that nobody came for until the pass ended

create table passes (
    card          bigint primary key references cards,
    entered_at    timestamptz,                            -- of the last visit that was taken off
    entered_by    integer not null default 0,             -- how many persons entered then
    entries_on    date,                                   -- the local day that entries_today counts
    entries_today integer not null default 0 check (entries_today >= 0),
    frozen_from   date,
    frozen_until  date,
    lapses_on     date,                                   -- the day after its last; null: no end, or nothing is left
    constraint frozen_both check ((frozen_from is null) = (frozen_until is null) and frozen_until >= frozen_from)
) with (fillfactor = 80);
create index on passes (lapses_on) where lapses_on is not null;

create table lapses (
    id         bigint generated always as identity primary key,
    card       bigint not null references cards,
    unit       integer not null,
    amount     bigint not null check (amount > 0),
    ended_on   date not null,                             -- the card's last day
    decided_at timestamptz not null,
    booked_on  date not null
);
create index on lapses (card);
create index on lapses using brin (booked_on);
create trigger append_only before update or delete on lapses for each row execute function refuse_change();
create trigger not_emptied before truncate on lapses for each statement execute function refuse_change();

-- The debts of local credit cards, one row for each purchase; the card's lock orders them.
create table charges (
    id       bigint generated always as identity,
    card     bigint not null references cards,
    module   bigint not null,                             -- the name of the purchase
    date     date not null,
    sequence bigint not null,
    due_on   date not null,
    amount   bigint not null check (amount > 0),
    primary key (card, id),
    unique (module, date, sequence)
);
create trigger append_only before update or delete on charges for each row execute function refuse_change();
create trigger not_emptied before truncate on charges for each statement execute function refuse_change();

create type counted as (count bigint, sum bigint);
create table totals (
    module    bigint not null,                            -- the name of the request
    date      date not null,
    sequence  bigint not null,
    unit      integer not null,
    first     bigint not null,                            -- the interval of the module's sequences
    last      bigint not null,
    from_date date not null,                              -- the dates of its two ends, the earlier and the later
    to_date   date not null,
    asked     counted[] not null,                         -- as the module counted, in the ten kinds' order
    counted   counted[] not null,                         -- as the switch did
    primary key (module, date, sequence)
);
create trigger append_only before update or delete on totals for each row execute function refuse_change();
create trigger not_emptied before truncate on totals for each statement execute function refuse_change();

-- By how many days an authorization moved a pass's end, or set it from its own day; null where it did not.
alter table authorizations add column term_days integer;

create or replace view postings as
    select a.module, a.date, a.sequence, p.ordinal::smallint as ordinal, p.debit, p.credit, p.unit, a.card, p.amount, a.decided_at, a.booked_on
      from authorizations a, unnest(a.postings) with ordinality p(debit, credit, unit, amount, ordinal)
     where a.postings is not null
    union all
    select 0, booked_on, id, 1::smallint, 1::smallint, 103::smallint, unit, card, amount, decided_at, booked_on from lapses;

drop function gather(asked_row[]);
drop function record(timestamptz, date, date, authorization_row[], undo_row[], page_row[], card_change[], try_row[], bad_cards_row[],
                     number_change[], hold_row[], hold_end[]);
alter type authorization_row add attribute term_days integer;
alter type original_row add attribute decided_at timestamptz, add attribute term_days integer;
alter table accounts add constraint value_has_a_floor check (kind <> 1 or floor is not null);

create type pass_row as (card bigint, entered_at timestamptz, entered_by integer, entries_on date, entries_today integer, frozen_from date, frozen_until date);
create type pass_change as (
    card bigint, entered_at timestamptz, entered_by integer, entries_on date, entries_today integer, frozen_from date, frozen_until date, lapses_on date);
create type lapse_row as (card bigint, unit integer, amount bigint, ended_on date);
create type floor_row as (card bigint, unit integer, floor bigint, least bigint);
create type charge_row as (card bigint, module bigint, date date, sequence bigint, due_on date, amount bigint);
create type totals_row as (
    module bigint, date date, sequence bigint, unit integer, first bigint, last bigint, from_date date, to_date date, asked counted[], counted counted[]);

-- Whether these are passes whose last day is over; else nothing of them may lapse.
create function check_lapses(p_lapses lapse_row[]) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    if exists (select from unnest(p_lapses) l
                where l.unit is distinct from 32769
                   or not exists (select from cards c, issuer i
                                   where c.id = l.card and c.valid_until = l.ended_on
                                     and l.ended_on < (clock_timestamp() at time zone i.zone)::date)) then
        raise exception 'what has not ended lapses' using errcode = 'AU001';
    end if;
end $$;

-- Books what passes lose with their end, and takes it off them; for `record` and the sweep alone, which hold the cards' locks.
create function lapse(p_lapses lapse_row[], p_decided_at timestamptz, p_booked_on date) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
declare
    moved bigint;
begin
    update accounts a set balance = a.balance - l.amount
      from unnest(p_lapses) l
     where a.card = l.card and a.unit = l.unit and a.kind = 1 and a.balance - a.held - l.amount >= a.floor;
    get diagnostics moved = row_count;
    if moved < cardinality(p_lapses) then
        raise exception 'more lapses than is there' using errcode = 'AU001';
    end if;
    insert into lapses (card, unit, amount, ended_on, decided_at, booked_on)
        select card, unit, amount, ended_on, p_decided_at, p_booked_on from unnest(p_lapses);
end $$;

-- A programme's first version, or a further one of the same kind; returns the programme's number. (As in 0001, and a pass has no currency.)
create or replace function add_programme(p_name text, p_version integer, p_effective_from date, p_document jsonb) returns integer
    language plpgsql set search_path = @schema@, pg_temp as $$
declare
    known integer;
    last  programme_versions;
begin
    if p_document ->> 'currency' <> (select code from issuer) then
        perform refuse(format('the programme is in %s and the issuer in %s', p_document ->> 'currency', (select code from issuer)));
    end if;
    insert into programmes (name) values (p_name) on conflict do nothing;
    select number into known from programmes where name = p_name for update;
    select * into last from programme_versions where programme = known order by version desc limit 1;
    if p_version <= last.version then
        perform refuse(format('version %s of %s is loaded already; rules that cards follow are not edited: give changed ones a version from %s on',
                              last.version, p_name, last.version + 1));
    end if;
    if p_effective_from <= last.effective_from then
        perform refuse(format('version %s of %s is valid from %s on; version %s has to begin on a later day',
                              last.version, p_name, last.effective_from, p_version));
    end if;
    if p_document ->> 'kind' <> last.document ->> 'kind' then
        perform refuse(format('%s is for cards of the kind %s, and cards do not change their kind: give the new programme another name',
                              p_name, last.document ->> 'kind'));
    end if;
    insert into programme_versions (programme, version, effective_from, document) values (known, p_version, p_effective_from, p_document);
    return known;
end $$;

-- The first half of a batch's transaction: lock every card that it may touch, take the time, then read all that decisions need.
create function gather(
    p_asked asked_row[],
    out registry bigint, out decided_at timestamptz, out local_at timestamp, out booked_on date, out serials bigint[], out tombstone_serials bigint[],
    out recorded recorded_row[], out numbers number_row[], out cards card_row[], out accounts account_row[], out originals original_row[], out holds hold_row[], out budgets bad_cards_row[],
    out passes pass_row[], out charges charge_row[])
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

    select array_agg((card, kind, balance, floor, held)::account_row), bool_or(held > 0), bool_or(unit = 32769), bool_or(kind = 1 and (floor < 0 or balance < 0))
      into accounts, has_holds, has_passes, has_credit from accounts where card = any (ids);
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
            select case when not r.ordinal = any (found.places) then r.od end
              from unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, other, ordinal),
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
            select a.card, greatest(-sum(a.balance), 0) + coalesce((select sum(o.approved) from unnest(originals) o where o.card = a.card), 0) as debt
              from unnest(accounts) a group by a.card having bool_or(a.floor < 0 or a.balance < 0) or has_originals
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

-- The second half: writes what was decided, all of it or nothing.
create function record(
    p_decided_at timestamptz, p_booked_on date, p_today date,
    p_authorizations authorization_row[], p_undos undo_row[], p_pages page_row[],
    p_cards card_change[], p_tries try_row[], p_bad_cards bad_cards_row[], p_numbers number_change[], p_holds hold_row[], p_ended hold_end[],
    p_passes pass_change[], p_lapses lapse_row[], p_floors floor_row[], p_charges charge_row[], p_totals totals_row[])
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
    eased   jsonb;
begin
    -- What a pass loses with its end is no request's doing and stands in a row of its own, below.
    if cardinality(p_lapses) > 0 then
        perform check_lapses(p_lapses);
    end if;

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
            returning h.card, h.unit, h.amount, h.ended
        ), freed as (
            update accounts a set held = a.held - g.amount
              from (select card, unit, sum(amount) as amount from gone group by card, unit) g
             where a.card = g.card and a.unit = g.unit and a.kind = 1
        )
        select coalesce(sum(count), 0) < cardinality(p_ended), jsonb_object_agg(card, taken) into unknown, eased from (
            select card, count(*), coalesce(sum(amount) filter (where ended = 1), 0) from gone group by card) g(card, count, taken);
        if unknown then
            raise exception 'a hold that is not open ends' using errcode = 'AU008';
        end if;
    end if;

    -- A floor counts from its place in the batch on. What was decided before it was decided on another: the lowest of them is what
    -- nothing may pass, and the last is what stays.
    if cardinality(p_floors) > 0 then
        -- Only credit goes below zero, and no deeper than some version of its rules allows.
        if exists (select from unnest(p_floors) n left join cards c on c.id = n.card
                    where n.floor is null or n.least is null or n.least > n.floor or c.id is null
                       or n.unit is distinct from (select currency from issuer)
                       or not exists (select from unnest(p_authorizations) a where a.card = n.card and a.command in (17, 24, 82))
                       or -n.least > (select coalesce(max((document ->> 'limit_maximum_minor')::bigint), 0) from programme_versions v
                                                       where v.programme = c.programme and v.document ->> 'kind' = 'credit')) then
            raise exception 'a floor that no programme has' using errcode = 'AU009';
        end if;
        insert into accounts (card, kind, unit, balance, floor)
            select card, 1, unit, 0, least from unnest(p_floors) order by card
            on conflict (card, kind, unit) do update set floor = excluded.floor;
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
        returning m.delta < 0 and a.balance - a.held < a.floor
                  and m.delta + coalesce((eased ->> a.card::text)::numeric, 0) < 0 as overdrawn
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

    -- Also of what an undoing has just given back to it.
    if cardinality(p_lapses) > 0 then
        if exists (select from closed_days where day >= p_booked_on and closed_at is not null) then
            raise exception 'a lapse on a day that is closed' using errcode = 'AU007';
        end if;
        perform lapse(p_lapses, p_decided_at, p_booked_on);
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
            token_key, digest_key, digest, answer, postings, term_days)
        select module, date, sequence, number, p_decided_at, p_booked_on, tombstone, command, result, reason, programme, programme_version,
               branch, unit, card, requested, approved, cashier, original_module, original_date, original_sequence,
               token_key, digest_key, digest, answer, postings, term_days
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

    if cardinality(p_floors) > 0 then
        update accounts a set floor = n.floor from unnest(p_floors) n where a.card = n.card and a.kind = 1 and a.unit = n.unit;
    end if;

    if cardinality(p_passes) > 0 then
        insert into passes (card, entered_at, entered_by, entries_on, entries_today, frozen_from, frozen_until, lapses_on)
            select card, entered_at, entered_by, entries_on, entries_today, frozen_from, frozen_until, lapses_on from unnest(p_passes) order by card
            on conflict (card) do update set
                entered_at = excluded.entered_at, entered_by = excluded.entered_by, entries_on = excluded.entries_on, entries_today = excluded.entries_today,
                frozen_from = excluded.frozen_from, frozen_until = excluded.frozen_until, lapses_on = excluded.lapses_on;
    end if;

    if cardinality(p_charges) > 0 then
        insert into charges (card, module, date, sequence, due_on, amount)
            select h.card, h.module, h.date, h.sequence, h.due_on, h.amount
              from unnest(p_charges) with ordinality h(card, module, date, sequence, due_on, amount, place)
             where exists (select from authorizations a where a.module = h.module and a.date = h.date and a.sequence = h.sequence
                                                          and a.card = h.card and a.approved = h.amount and a.command in (19, 21))
             order by place;
        get diagnostics moved = row_count;
        if moved < cardinality(p_charges) then
            raise exception 'a charge without its authorization' using errcode = 'AU003';
        end if;
    end if;

    if cardinality(p_totals) > 0 then
        insert into totals (module, date, sequence, unit, first, last, from_date, to_date, asked, counted)
            select t.module, t.date, t.sequence, t.unit, t.first, t.last, t.from_date, t.to_date, t.asked, t.counted
              from unnest(p_totals) t
             where exists (select from unnest(p_authorizations) a
                            where a.module = t.module and a.date = t.date and a.sequence = t.sequence and a.command = 32);
        get diagnostics moved = row_count;
        if moved < cardinality(p_totals) then
            raise exception 'totals without their authorization' using errcode = 'AU003';
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

-- Lapses what is left of passes that have ended and that nobody asks for, at most so many; how many. As in `end_expired_holds`, cards
-- that are being served are left out; as in `gather`, the transaction has an id before it reads the open day.
create function lapse_passes(p_most integer) returns integer
    language plpgsql volatile security definer set search_path = @schema@, pg_temp as $$
declare
    own_id xid8 := pg_current_xact_id();
    at     timestamptz;
    today  date;
    open   date;
    ids    bigint[];
    gone   lapse_row[];
begin
    select (clock_timestamp() at time zone zone)::date into today from issuer;
    select array_agg(card) into ids from (select card from passes where lapses_on <= today order by lapses_on limit p_most) due;
    ids := array(select id from cards where id = any (ids) order by id for no key update skip locked);
    at := clock_timestamp();
    select i.day, greatest(i.day, (select max(day) + 1 from closed_days)) into today, open
      from (select (at at time zone zone)::date as day from issuer) i;
    select array_agg((a.card, a.unit, a.balance - a.held, c.valid_until)::lapse_row) into gone
      from passes p, cards c, accounts a
     where p.card = any (ids) and p.lapses_on <= today and c.id = p.card and a.card = p.card and a.kind = 1 and a.unit = 32769
       and a.balance > a.held and c.valid_until < today;
    if gone is not null then
        perform lapse(gone, at, open);
    end if;
    update passes set lapses_on = null where card = any (ids) and lapses_on <= today;
    return coalesce(cardinality(gone), 0);
end $$;

-- What a module moved by requests of these sequences, by kind: approvals in one unit, without those that were undone within the
-- interval and what undid them, and without reversals that moved nothing. Dates say only where to look: who asks gives the dates of
-- both ends, and what was recorded with them lies at most 36 days back and 2 ahead.
create function count_totals(p_module bigint, p_unit integer, p_first bigint, p_last bigint, p_from date, p_to date,
    out kind integer, out count bigint, out sum bigint) returns setof record
    language sql stable security definer set search_path = @schema@, pg_temp
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
    as $$
    select coalesce(array_position(array[17, 18, 19, 21, 23, 24, 25, 26, 27], a.command) - 1, 9), count(*), least(sum(a.approved), 9223372036854775807)::bigint
      from generate_series(greatest(p_from, '2000-01-01') - 38, least(p_to, greatest(p_from, '2000-01-01') + 62, '2999-12-31') + 38, interval '1 day') d(day),
           lateral (select module, date, sequence, command, result, reason, unit, approved, tombstone, original_module, original_sequence
                      from authorizations where module = p_module and date = d.day::date and sequence between p_first and p_last offset 0) a
     where not a.tombstone and a.unit = p_unit and a.result in (0, 10)
       and not (a.command = 24 and (a.reason <> 0 or (a.original_module = p_module and a.original_sequence between p_first and p_last)))
       and not exists (select from undos u where u.module = a.module and u.date = a.date and u.sequence = a.sequence and u.reversal
                                             and u.by_module = p_module and u.by_sequence between p_first and p_last)
     group by 1
$$;

-- What cards have spent on the local day of now: purchases that were not undone, by card. What was decided today is named at most
-- 36 days back and 2 ahead.
create function spent_today(p_cards bigint[], out card bigint, out sales bigint, out amount bigint) returns setof record
    language sql volatile security definer set search_path = @schema@, pg_temp
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
    as $$
    select a.card, count(*), least(sum(a.approved), 9223372036854775807)::bigint
      from (select date_trunc('day', clock_timestamp() at time zone zone) as day, zone from issuer) i,
           unnest(p_cards) c,
           lateral (select * from authorizations
                     where card = c and postings is not null and decided_at >= i.day at time zone i.zone
                       and date between i.day::date - 37 and i.day::date + 3 offset 0) a
     where a.command in (19, 21) and a.result in (0, 10)
       and not exists (select from undos u where u.module = a.module and u.date = a.date and u.sequence = a.sequence and u.reversal)
     group by a.card
$$;

-- Totals that would be counted otherwise today: requests of theirs were recorded behind them.
create view late_totals as
    select * from (
        select t.module, t.date, t.sequence, t.unit, t.first, t.last, t.counted,
               array(select (coalesce(n.count, 0), coalesce(n.sum, 0))::counted
                       from generate_series(0, 9) k left join count_totals(t.module, t.unit, t.first, t.last, t.from_date, t.to_date) n on n.kind = k
                      order by k) as now
          from totals t) counted_again
     where now <> counted;

revoke all on passes, lapses, charges, totals, late_totals from public;
revoke all on function gather, record, lapse, check_lapses, lapse_passes, count_totals, spent_today from public;
grant execute on function gather, record, lapse_passes, count_totals, spent_today to @switch_role@;
