-- What a card has spent on a day is asked for the day of the decision, and late totals are looked for from a date on.

-- What cards have spent on the local day of a moment, which is that of the decision: a statement behind midnight would count the next day.
-- Purchases that were not undone, by card. What was decided on a day is named at most 36 days back and 2 ahead.
create function spent_on_day(p_cards bigint[], p_at timestamptz, out card bigint, out sales bigint, out amount bigint) returns setof record
    language sql volatile security definer set search_path = @schema@, pg_temp
    set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
    as $$
    select a.card, count(*), least(sum(a.approved), 9223372036854775807)::bigint
      from (select date_trunc('day', p_at at time zone zone) as day, zone from issuer) i,
           unnest(p_cards) c,
           lateral (select * from authorizations
                     where card = c and postings is not null and decided_at >= i.day at time zone i.zone
                       and date between i.day::date - 37 and i.day::date + 3 offset 0) a
     where a.command in (19, 21) and a.result in (0, 10)
       and not exists (select from undos u where u.module = a.module and u.date = a.date and u.sequence = a.sequence and u.reversal)
     group by a.card
$$;
drop function spent_today(bigint[]);

drop view late_totals;  -- `late_totals_since` has a horizon

revoke all on function spent_on_day from public;
grant execute on function spent_on_day to @switch_role@;
