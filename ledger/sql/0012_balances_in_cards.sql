-- A card's balances stand in its own row, and its numbers are looked up once; `gather` and `record` as they are now, in place of those of 0007.
--
-- A batch locked a card, read its accounts, and wrote one of them: two rows on two pages, found three times, and an index to keep for
-- the second. The row that is locked anyway now holds what they held. Beside that:
--   * A card has one unit, that of its programme, and so one value and one `owed`. `accounts` is a view that shows them as before; a
--     further unit on a card will be a row of its own beside it.
--   * Numbers were looked up again behind the lock, for the rare one that had been given to another card meanwhile. Now the card says
--     by whom that was done last, and only where he could not be seen at the first look there is a second one.
--     (Carried to another cluster by a dump, a transaction's number may lie ahead of that one's: then there is a second look too many.)
--   * Wrong codes are read for those tokens only that have any.
--   * The lock order is that of 0001 without accounts, which have no rows any more.

do $$
begin
    if exists (select from accounts group by card having count(distinct unit) > 1) then
        raise exception 'a card has accounts in two units; mend that first: select card from accounts group by card having count(distinct unit) > 1';
    end if;
end $$;

alter table cards
    add column unit          integer,                     -- null: nothing has moved yet
    add column value         bigint not null default 0,   -- what the card can spend
    add column owed          bigint not null default 0 constraint owed_never_above_zero check (owed <= 0),
    add column floor         bigint not null default 0,   -- of the value: zero, or minus a credit's limit
    add column held          bigint not null default 0,   -- what open holds reserve of the value
    add column renumbered_by xid8,                        -- the last transaction that gave one of its numbers away, or gave it one
    set (fillfactor = 80);
update cards c
   set unit = a.unit, value = a.value, owed = a.owed, floor = a.floor, held = a.held
  from (select card, min(unit) as unit, coalesce(sum(balance) filter (where kind = 1), 0) as value, coalesce(sum(balance) filter (where kind = 2), 0) as owed,
               coalesce(min(floor) filter (where kind = 1), 0) as floor, sum(held) as held
          from accounts group by card) a
 where c.id = a.card;

-- What read the table reads the view: the views over it are made anew as they stand, with their rights.
do $$
declare
    dependents text[];
    rights     text[];
begin
    with recursive over(view, depth) as (
        select 'accounts'::regclass::oid, 0
        union
        select r.ev_class, o.depth + 1
          from over o
          join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = o.view and d.classid = 'pg_rewrite'::regclass
          join pg_rewrite r on r.oid = d.objid and r.ev_class <> o.view
    ), each(view, depth) as (
        select view, max(depth) from over where depth > 0 group by view
    )
    select array_agg(format('create view %s as %s', view::regclass, pg_get_viewdef(view)) order by depth),
           array(select format('grant select on %s to %s', e.view::regclass, x.grantee::regrole)
                   from each e, pg_class c, aclexplode(c.relacl) x
                  where c.oid = e.view and x.privilege_type = 'SELECT' and x.grantee <> c.relowner and x.grantee <> 0)
      into dependents, rights
      from each;
    drop table accounts cascade;
    create view accounts as
        select id as card, 1::smallint as kind, unit, value as balance, floor, held from cards where unit is not null
        union all
        select id, 2::smallint, unit, owed, null::bigint, 0::bigint from cards where owed <> 0;
    for place in 1 .. cardinality(dependents) loop
        execute dependents[place];
    end loop;
    for place in 1 .. coalesce(cardinality(rights), 0) loop
        execute rights[place];
    end loop;
end $$;

drop function gather(asked_row[]);
drop function record(timestamptz, date, date, authorization_row[], undo_row[], page_row[], card_change[], try_row[], bad_cards_row[], number_change[], hold_row[], hold_end[], pass_change[], lapse_row[], floor_row[], charge_row[], totals_row[]);
drop type account_row;
alter type number_row drop attribute failures;
alter type card_row add attribute value bigint, add attribute owed bigint, add attribute floor bigint, add attribute held bigint;

-- Books what passes lose with their end, and takes it off them; for `record` and the sweep alone, which hold the cards' locks.
create or replace function lapse(p_lapses lapse_row[], p_decided_at timestamptz, p_booked_on date) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
declare
    moved bigint;
begin
    update cards c set value = c.value - l.amount
      from unnest(p_lapses) l
     where c.id = l.card and c.unit = l.unit and c.value - c.held - l.amount >= c.floor;
    get diagnostics moved = row_count;
    if moved < cardinality(p_lapses) then
        raise exception 'more lapses than is there' using errcode = 'AU001';
    end if;
    insert into lapses (card, unit, amount, ended_on, decided_at, booked_on)
        select card, unit, amount, ended_on, p_decided_at, p_booked_on from unnest(p_lapses);
end $$;

-- The first half of a batch's transaction: lock every card that it may touch, take the time, then read all that decisions need.
create function gather(
    p_asked asked_row[],
    out registry bigint, out decided_at timestamptz, out local_at timestamp, out booked_on date, out serials bigint[], out tombstone_serials bigint[],
    out recorded recorded_row[], out numbers number_row[], out tries try_row[], out cards card_row[], out originals original_row[], out holds hold_row[], out budgets bad_cards_row[],
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
    seen          pg_snapshot;
    renumbered    boolean;
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

    select array_agg((id, programme, status, verifier_key, verifier, valid_until, loads_on, loads_today, blocked, value, owed, floor, held)::card_row),
           bool_or(not pg_visible_in_snapshot(renumbered_by, seen)), bool_or(held > 0), bool_or(unit = 32769), bool_or(floor < 0 or value < 0)
      into cards, renumbered, has_holds, has_passes, has_credit
      from (select * from cards where id = any (ids) order by id for no key update) locked;

    -- A number may have been given to another card before its card was locked. Who does that marks both cards.
    if renumbered then
        select array_agg((token, card, live)::number_row), count(*) into numbers, known from card_numbers where token = any (tokens);
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
                                      where module = m and date = least_date and sequence = s offset 0) a on true offset 0) f;
    else
        select array_agg((r.ordinal, a.tombstone, a.number, a.decided_at, a.decided_at at time zone i.zone,
                          a.token_key, a.digest_key, a.digest, a.answer)::recorded_row) filter (where a.number is not null),
               reserve_numbers(array_agg(case when a.number is null then r.d end order by r.ordinal))
          into recorded, serials
          from issuer i, unnest(p_asked) with ordinality r(m, d, s, token, coded, om, od, os, number, other, ordinal)
          left join lateral (select * from authorizations
                              where module = m and date = d and sequence = s and date between least_date and greatest_date offset 0) a on true;
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
        update cards set renumbered_by = pg_current_xact_id()
         where id in (select card from unnest(p_numbers) union select c.card from card_numbers c, unnest(p_numbers) n where c.token = n.token);
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
            update cards c set held = c.held - g.amount
              from (select card, unit, sum(amount) as amount from gone group by card, unit) g
             where c.id = g.card and c.unit = g.unit
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
                       or n.unit is distinct from (select currency from issuer) or n.unit <> c.unit
                       or not exists (select from unnest(p_authorizations) a where a.card = n.card and a.command in (17, 24, 82))
                       or -n.least > (select coalesce(max((document ->> 'limit_maximum_minor')::bigint), 0) from programme_versions v
                                                       where v.programme = c.programme and v.document ->> 'kind' = 'credit')) then
            raise exception 'a floor that no programme has' using errcode = 'AU009';
        end if;
        update cards c set unit = n.unit, floor = n.least from unnest(p_floors) n where c.id = n.card;
    end if;

    -- Balances follow from the postings and from nothing else. A card has one unit, that of its first movement.
    with movement as (
        select a.card, p.unit, sum(case 1 when p.credit then p.amount when p.debit then -p.amount else 0 end)::bigint as value,
               sum(case 2 when p.credit then p.amount when p.debit then -p.amount else 0 end)::bigint as owed,
               bool_or(p.debit < 100 or p.credit < 100) as of_card, bool_or(p.debit <> all (k.kinds) or p.credit <> all (k.kinds)) as strange
          from unnest(p_authorizations) a, unnest(a.postings) p, (select array(select kind from account_kinds) as kinds) k
         group by a.card, p.unit
    ), moved as (
        update cards c set unit = m.unit, value = c.value + m.value, owed = c.owed + m.owed
          from movement m
         where c.id = m.card and m.of_card and (c.unit = m.unit or c.unit is null)
        returning m.value < 0 and c.value - c.held < c.floor
                  and m.value + coalesce((eased ->> c.id::text)::numeric, 0) < 0 as overdrawn
    ), asked as (
        select count(*) filter (where of_card) as cards, bool_or(strange) as strange, count(*) as many from movement
    )
    select a.strange or a.cards > m.cards, m.overdrawn,
           a.many > 0 and exists (select from closed_days where day >= p_booked_on and closed_at is not null)
      into unknown, below, closed
      from asked a, (select count(*) as cards, bool_or(overdrawn) as overdrawn from moved) m;
    if unknown then
        raise exception 'a posting on an account that does not exist' using errcode = 'AU006';
    end if;
    if closed then
        raise exception 'a posting on a day that is closed' using errcode = 'AU007';
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
            update cards c set held = c.held + n.amount from held n where c.id = n.card and c.unit = n.unit
            returning c.value - c.held < c.floor as overdrawn
        )
        select bool_or(overdrawn) or count(*) < (select count(*) from held) into below from reserved;
        if below then
            raise exception 'a hold reserves more than is available' using errcode = 'AU001';
        end if;
    end if;

    if cardinality(p_floors) > 0 then
        update cards c set floor = n.floor from unnest(p_floors) n where c.id = n.card;
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

-- Ends what has expired on cards that nobody asks for, at most so many holds; how many ended. Cards that are being served are left
-- out: who serves one has ended what expired of it.
create or replace function end_expired_holds(p_most integer) returns integer
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
        update cards c set held = c.held - g.amount
          from (select card, unit, sum(amount) as amount from gone group by card, unit) g
         where c.id = g.card and c.unit = g.unit
    )
    select count(*) into many from gone;
    return many;
end $$;

-- Lapses what is left of passes that have ended and that nobody asks for, at most so many; how many. As in `end_expired_holds`, cards
-- that are being served are left out; as in `gather`, the transaction has an id before it reads the open day.
create or replace function lapse_passes(p_most integer) returns integer
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
    select array_agg((c.id, c.unit, c.value - c.held, c.valid_until)::lapse_row) into gone
      from passes p, cards c
     where p.card = any (ids) and p.lapses_on <= today and c.id = p.card and c.unit = 32769 and c.value > c.held and c.valid_until < today;
    if gone is not null then
        perform lapse(gone, at, open);
    end if;
    update passes set lapses_on = null where card = any (ids) and lapses_on <= today;
    return coalesce(cardinality(gone), 0);
end $$;

revoke all on accounts from public;
revoke all on function gather, record from public;
grant execute on function gather, record to @switch_role@;
