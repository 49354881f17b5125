-- What finance reads: differences that must never be, and the numbers of its reports.
--
-- A view or function here reads and never writes; the owner's role runs them, the switch none of them. What a difference is:
--   * Each view of differences is empty, always. A row says what is wrong, by the name, number or card of what it is wrong about,
--     and where a number says more, what was found and what was expected.
--   * Together they check what no constraint can: what stands in one row against what follows from others. They look at rows
--     alone, never at what the switch remembers, so that one snapshot of a busy ledger is as good as a ledger at rest.
--   * A check reads a table once, whole: who looks for what is wrong cannot trust an index to find it, and many checks of a row
--     share one reading of it.

-- What each command may move, from which account to which. One that is not here moves nothing; a reversal moves back.
create table movement_rules (
    command integer  not null,
    debit   smallint not null references account_kinds,
    credit  smallint not null references account_kinds,
    primary key (command, debit, credit)
);
insert into movement_rules values
    (17, 100, 1), (17, 100, 2),     -- activate
    (18, 100, 1), (18, 100, 2),     -- reload
    (25, 100, 1), (25, 100, 2),     -- payment
    (19, 1, 101),                   -- sale
    (21, 1, 101),                   -- confirm
    (26, 1, 101),                   -- visit
    (23, 101, 1), (23, 101, 2),     -- refund
    (27, 1, 100);                   -- cash-out

create view programme_kinds as
    select programme, min(document ->> 'kind') as kind from programme_versions group by programme;

-- Each card with the kind of its programme and its unit.
create view card_kinds as
    select c.id as card, c.programme, k.kind, case k.kind when 'visits' then 32769 else i.currency end as unit
      from cards c left join programme_kinds k using (programme), issuer i;

-- ------------------------------------------------------------------------------------------------------------- differences

-- What is wrong with an authorization by itself, or with what it refers to.
create view wrong_authorizations as
    select d.difference, a.module, a.date, a.sequence, a.number, a.card, a.unit,
           case d.difference when 'moved' then p.moved when 'approved' then a.approved end::numeric as found,
           case d.difference when 'moved' then (case when r.moves and a.approving then a.approved else 0 end)
                             when 'approved' then (case when a.approving then a.requested else 0 end) end::numeric as expected
      from (select *, not tombstone and result in (0, 10) as approving from authorizations) a
      left join card_kinds c on c.card = a.card
      left join modules m on m.number = a.module
      left join branches b on b.number = a.branch
      cross join (select zone, (select max(day) from closed_days) as closed from issuer) i
      cross join lateral (select (a.decided_at at time zone i.zone)::date as day, a.command in (select command from movement_rules) as moves) r
      cross join lateral (
          select coalesce(sum(amount), 0) as moved, coalesce(bool_or(q.unit <> a.unit), false) as of_another_unit,
                 coalesce(bool_or((a.command, q.debit, q.credit) not in (select command, debit, credit from movement_rules)), false) as on_others
            from unnest(a.postings) q(debit, credit, unit, amount)) p
      cross join lateral unnest(array_remove(array[
          case when a.postings is not null and not a.approving then 'not approved' end,
          case when a.approving and a.command <> 24 and p.moved <> (case when r.moves then a.approved else 0 end) then 'moved' end,
          case when a.approving and a.command <> 24 and p.on_others then 'accounts' end,
          case when a.postings is not null and (p.of_another_unit or a.unit is distinct from c.unit) then 'unit' end,
          case when (not a.approving and a.approved <> 0)
                 or (a.approving and a.command in (19, 20, 21, 23, 25)
                     and case a.result when 0 then a.approved <> a.requested else a.approved >= a.requested or a.approved <= 0 end) then 'approved' end,
          case when not a.tombstone and (a.answer is null or a.digest is null or a.token_key is null or a.digest_key is null) then 'answer' end,
          case when number_month(a.number) <> date_trunc('month', a.date)::date or with_check_digit(a.number / 10) <> a.number then 'number' end,
          case when a.booked_on < r.day or a.booked_on > greatest(r.day, i.closed + 1) or a.date not between r.day - 36 and r.day + 2 then 'day' end,
          case when m.number is null or b.number is null or (a.card is not null and (c.card is null or a.programme is distinct from c.programme))
               then 'reference' end
          ], null)) d(difference);

create view duplicate_numbers as
    select a.module, a.date, a.sequence, a.number, a.card, a.unit
      from authorizations a
     where a.number in (select number from authorizations group by number having count(*) > 1);

-- Reversals that did not give back what their original moved, or of which nothing says so at the original.
create view wrong_reversals as
    select r.module, r.date, r.sequence, r.number, r.card, r.unit, r.approved::numeric as found,
           (case when r.reason in (0, 3) then o.approved else 0 end)::numeric as expected
      from authorizations r
      left join authorizations o on o.module = r.original_module and o.date = r.original_date and o.sequence = r.original_sequence
      left join undos u on u.module = r.original_module and u.date = r.original_date and u.sequence = r.original_sequence and u.reversal
     where r.command = 24 and r.result = 0 and not r.tombstone
       and not coalesce(case r.reason
               when 0 then o.result in (0, 10) and not o.tombstone and o.card is not distinct from r.card and o.unit = r.unit and r.approved = o.approved
                       and u.by_module = r.module and u.by_date = r.date and u.by_sequence = r.sequence
                       and not exists (
                           select from (select * from unnest(o.postings) p union all select * from unnest(r.postings) p) q(debit, credit, unit, amount),
                                       lateral (values (debit, -amount), (credit, amount)) k(kind, signed)
                            where k.kind >= 100 group by k.kind, q.unit having sum(k.signed) <> 0)
               when 1 then r.approved = 0 and r.postings is null
               when 2 then o.tombstone and r.approved = 0 and r.postings is null
               when 3 then u.module is not null and r.approved = o.approved and r.postings is null
               else false end, false);

-- What was undone without someone who did it, of something that cannot be undone, or by another amount.
create view wrong_undos as
    select u.module, u.date, u.sequence, o.number, o.card, o.unit, u.amount::numeric as found,
           (case when u.reversal then o.approved when u.amount >= 0 then b.approved else -f.approved end)::numeric as expected
      from undos u
      left join authorizations o on o.module = u.module and o.date = u.date and o.sequence = u.sequence
      left join authorizations b on b.module = u.by_module and b.date = u.by_date and b.sequence = u.by_sequence
      left join authorizations f on u.amount < 0 and f.module = b.original_module and f.date = b.original_date and f.sequence = b.original_sequence
     where not coalesce(o.result in (0, 10) and not o.tombstone and b.result = 0 and not b.tombstone and b.card is not distinct from o.card
               and case when u.reversal then b.command = 24 and b.reason = 0 and u.amount = o.approved
                                         and b.original_module = o.module and b.original_date = o.date and b.original_sequence = o.sequence
                        when u.amount >= 0 then b.command = 23 and o.command in (19, 21) and u.amount = b.approved
                                         and b.original_module = o.module and b.original_date = o.date and b.original_sequence = o.sequence
                        else b.command = 24 and b.reason = 0 and f.command = 23 and u.amount = -f.approved
                                         and f.original_module = o.module and f.original_date = o.date and f.original_sequence = o.sequence
                   end, false);

-- Originals of which more is undone than was approved, or which are undone twice.
create view undone_beyond as
    select u.module, u.date, u.sequence, a.number, a.card, a.unit, u.refunded + u.reversed as found, a.approved::numeric as expected
      from (select module, date, sequence, coalesce(sum(amount) filter (where not reversal), 0) as refunded,
                   coalesce(sum(amount) filter (where reversal), 0) as reversed, count(*) filter (where reversal) as reversals
              from undos group by module, date, sequence) u
      left join authorizations a using (module, date, sequence)
     where a.module is null or u.refunded < 0 or u.refunded + u.reversed > a.approved or u.reversals > 1 or (u.reversals > 0 and u.refunded > 0);

-- Refunds, and reversals of refunds, that their original knows nothing of: it could be undone once more.
create view forgotten_undos as
    select a.module, a.date, a.sequence, a.number, a.card, a.unit, null::numeric as found, a.approved::numeric as expected
      from authorizations a
      left join authorizations f on a.command = 24 and f.module = a.original_module and f.date = a.original_date and f.sequence = a.original_sequence
     where a.result = 0 and not a.tombstone and (a.command = 23 or (a.command = 24 and a.reason = 0 and f.command = 23))
       and not exists (
           select from undos u
            where u.by_module = a.module and u.by_date = a.date and u.by_sequence = a.sequence and not u.reversal
              and u.amount = case a.command when 23 then a.approved else -f.approved end
              and u.module = case a.command when 23 then a.original_module else f.original_module end
              and u.date = case a.command when 23 then a.original_date else f.original_date end
              and u.sequence = case a.command when 23 then a.original_sequence else f.original_sequence end);

-- Holds without their authorization or the other way round, or that ended otherwise than what was asked says.
create view wrong_holds as
    select coalesce(h.module, a.module) as module, coalesce(h.date, a.date) as date, coalesce(h.sequence, a.sequence) as sequence, a.number,
           coalesce(h.card, a.card) as card, coalesce(h.unit, a.unit) as unit, h.amount::numeric as found, a.approved::numeric as expected
      from holds h
      full join (select * from authorizations where command = 20 and result in (0, 10) and not tombstone) a
             on a.module = h.module and a.date = h.date and a.sequence = h.sequence
      left join (select original_module, original_date, original_sequence, count(*) filter (where command = 21) as confirms,
                        count(*) filter (where command = 22) as releases, max(approved) as taken, min(card) as least_card, max(card) as card
                   from authorizations where command in (21, 22) and result = 0 and not tombstone group by 1, 2, 3) e
             on e.original_module = h.module and e.original_date = h.date and e.original_sequence = h.sequence
      left join undos u on u.module = h.module and u.date = h.date and u.sequence = h.sequence and u.reversal
     where h.module is null or a.module is null or h.card is distinct from a.card or h.unit <> a.unit or h.amount <> a.approved
        or coalesce(e.confirms, 0) <> (h.ended is not distinct from 1)::integer
        or coalesce(e.releases, 0) <> (h.ended is not distinct from 2)::integer
        or (u.module is not null) <> (h.ended is not distinct from 3)
        or (h.ended = 4 and h.ended_at < h.expires_at)
        or e.taken > h.amount or e.least_card <> h.card or e.card <> h.card;

-- Confirms and releases of no hold.
create view ends_without_hold as
    select a.module, a.date, a.sequence, a.number, a.card, a.unit
      from authorizations a
     where a.command in (21, 22) and a.result = 0 and not a.tombstone
       and not exists (select from holds h where h.module = a.original_module and h.date = a.original_date and h.sequence = a.original_sequence);

-- Purchases on credit without their charge, charges without their purchase, and ones that are due before they were made.
create view wrong_charges as
    select coalesce(h.module, a.module) as module, coalesce(h.date, a.date) as date, coalesce(h.sequence, a.sequence) as sequence, a.number,
           coalesce(h.card, a.card) as card, a.unit, h.amount::numeric as found, a.approved::numeric as expected
      from charges h
      full join (select a.* from authorizations a join card_kinds k using (card)
                  where k.kind = 'credit' and a.command in (19, 21) and a.result in (0, 10) and not a.tombstone) a
             on a.module = h.module and a.date = h.date and a.sequence = h.sequence
      cross join issuer i
     where h.module is null or a.module is null or h.card <> a.card or h.amount <> a.approved or h.due_on < (a.decided_at at time zone i.zone)::date;

-- Credit cards whose charges, less what was given back of them, are not what was bought with them.
create view wrong_debts as
    select k.card, k.unit, coalesce(c.charged, 0) as found, coalesce(p.bought, 0) as expected
      from (select card, unit from card_kinds where kind = 'credit') k
      left join (select c.card, sum(c.amount - coalesce(u.undone, 0)) as charged
                   from charges c
                   left join (select module, date, sequence, sum(amount) as undone from undos group by 1, 2, 3) u using (module, date, sequence)
                  group by c.card) c on c.card = k.card
      left join (select p.card, sum(case when p.credit = 101 then p.amount else -p.amount end) as bought
                   from postings p where p.debit = 101 or p.credit = 101 group by p.card) p on p.card = k.card
     where coalesce(c.charged, 0) <> coalesce(p.bought, 0);

-- Accounts of another unit than the card's, that owe the wrong way, or that hold back what only value can.
create view wrong_accounts as
    select a.card, a.kind, a.unit, a.balance::numeric as found, null::numeric as expected
      from accounts a left join card_kinds k using (card)
     where a.unit is distinct from k.unit or a.kind not in (1, 2) or (a.kind = 2 and (a.balance > 0 or a.held <> 0)) or a.held < 0
        or (a.kind = 1 and a.floor is null);

-- What set a credit card's limit last; null for the floor where what was asked is in the sealed answer alone.
create view last_limits as
    select card, max(decided_at) as decided_at, case when count(*) = 1 then min(floor) end as floor,
           case when count(*) = 1 then min(command) end as command
      from (select a.card, a.decided_at, a.command, max(a.decided_at) over (partition by a.card) as last,
                   case a.command when 17 then -coalesce((v.document ->> 'limit_minor')::bigint, 0) when 24 then 0 end as floor
              from authorizations a
              join card_kinds k on k.card = a.card and k.kind = 'credit'
              left join authorizations o on a.command = 24 and o.module = a.original_module and o.date = a.original_date and o.sequence = a.original_sequence
              left join programme_versions v on v.programme = a.programme and v.version = a.programme_version
             where a.result = 0 and not a.tombstone and (a.command in (17, 82) or (a.command = 24 and a.reason = 0 and o.command = 17))) s
     where decided_at = last
     group by card;

-- Floors that nothing gave, and values below a floor. A limit may be cut below the debt; then nothing may be bought until it is paid.
create view wrong_floors as
    select w.difference, a.card, a.unit,
           case w.difference when 'floor' then a.floor else a.balance - a.held end::numeric as found,
           case w.difference when 'floor' then case when k.kind = 'credit' then l.floor else 0 end else a.floor end::numeric as expected
      from accounts a
      join card_kinds k using (card)
      left join last_limits l using (card)
      left join (select card, max(decided_at) as bought_at from authorizations
                  where command in (19, 20) and result in (0, 10) and not tombstone
                    and card in (select card from accounts where kind = 1 and balance - held < floor) group by card) b using (card)
      cross join lateral unnest(array_remove(array[
          case when case when k.kind = 'credit' then a.floor > 0 or a.floor <> l.floor
                                                  or (l.card is null and a.floor <> 0)
                                                  or -a.floor > (select coalesce(max((document ->> 'limit_maximum_minor')::bigint), 0)
                                                                   from programme_versions v where v.programme = k.programme)
                         else a.floor <> 0 end then 'floor' end,
          case when a.balance - a.held < a.floor
                and not (k.kind = 'credit' and l.card is not null and l.command is distinct from 17 and l.decided_at >= coalesce(b.bought_at, '-infinity'))
               then 'below' end], null)) w(difference)
     where a.kind = 1;

-- Passes that would lapse on another day than the one after their last, or never.
create view wrong_passes as
    select k.card, k.unit, a.balance::numeric as found, null::numeric as expected
      from card_kinds k
      join cards c on c.id = k.card
      left join accounts a on a.card = k.card and a.kind = 1
      left join passes p on p.card = k.card
     where case when k.kind = 'visits' then p.lapses_on is distinct from (case when a.balance > 0 then c.valid_until + 1 end) else p.card is not null end;

-- What lapsed of cards that are no passes, or before the end of one.
create view wrong_lapses as
    select 0::bigint as module, l.booked_on as date, l.id as sequence, l.card, l.unit, l.amount::numeric as found, null::numeric as expected
      from lapses l join card_kinds k using (card), lateral (select (l.decided_at at time zone zone)::date as day from issuer) i
     where k.kind is distinct from 'visits' or l.unit <> 32769 or l.ended_on >= i.day or l.booked_on < i.day
        or l.booked_on > greatest(i.day, (select max(day) + 1 from closed_days));

-- Cards that are active, closed or blocked without what made them so, and those that no number or more than one leads to. A number in
-- another's place may end a block, by what the block was for; of what one batch did to a card the order is not known.
create view wrong_cards as
    select w.difference, c.id as card, k.unit
      from cards c
      join card_kinds k on k.card = c.id
      left join (select a.card, bool_or(u.module is null) as sold
                   from authorizations a
                   left join undos u on u.module = a.module and u.date = a.date and u.sequence = a.sequence and u.reversal
                  where a.command = 17 and a.result in (0, 10) and not a.tombstone group by a.card) s on s.card = c.id
      left join (select distinct card from authorizations where command = 27 and result = 0 and not tombstone) p on p.card = c.id
      left join (select card, count(*) filter (where live) as live from card_numbers where heir is null group by card) n on n.card = c.id
      left join (select card, max(decided_at) filter (where command = 28) as blocked, max(decided_at) filter (where command = 29) as unblocked,
                        max(decided_at) filter (where command = 31) as replaced
                   from authorizations where command in (28, 29, 31) and result = 0 and not tombstone group by card) b on b.card = c.id
      cross join lateral unnest(array_remove(array[
          case when case c.status when 0 then coalesce(s.sold, false)
                                  when 1 then not coalesce(s.sold, false) or p.card is not null
                                  else p.card is null and n.card is not null end then 'card' end,
          case when c.blocked is null and b.blocked > greatest(b.unblocked, b.replaced, '-infinity') then 'block'
               when c.blocked > 0 and (b.blocked is null or b.unblocked > b.blocked) then 'block' end,
          case when n.live > 1 or (c.status <> 3 and coalesce(n.live, 0) = 0) then 'card number' end], null)) w(difference);

-- Totals without their authorization, or answered otherwise than they compare.
create view wrong_totals as
    select coalesce(t.module, a.module) as module, coalesce(t.date, a.date) as date, coalesce(t.sequence, a.sequence) as sequence,
           a.number, null::bigint as card, coalesce(t.unit, a.unit) as unit
      from totals t
      full join (select * from authorizations where command = 32 and result in (0, 95) and not tombstone) a
             on a.module = t.module and a.date = t.date and a.sequence = t.sequence
     where t.module is null or a.module is null or t.unit <> a.unit or (t.asked = t.counted) <> (a.result = 0) or t.last < t.first;

-- Totals of requests dated `p_since` or later that would be counted otherwise today; the sorts of them are counted again one by one,
-- which takes a look into the index for each day and module.
create function late_totals_since(p_since date,
    out module bigint, out date date, out sequence bigint, out number bigint, out card bigint, out unit integer, out found numeric, out expected numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp
    as $$
    select t.module, t.date, t.sequence, a.number, null::bigint, t.unit,
           (select sum((c).count) from unnest(t.counted) c), coalesce(n.count, 0)
      from totals t
      left join authorizations a using (module, date, sequence)
      cross join lateral (select array(select (coalesce(n.count, 0), coalesce(n.sum, 0))::counted
                                         from generate_series(0, 9) k
                                         left join count_totals(t.module, t.unit, t.first, t.last, t.from_date, t.to_date) n on n.kind = k
                                        order by k) as pairs) again
      cross join lateral (select sum((c).count) as count from unnest(again.pairs) c) n
     where t.date >= p_since and again.pairs <> t.counted
$$;

-- Further pages of no answer.
create view wrong_pages as
    select g.module, g.date, g.sequence
      from pages g left join authorizations a using (module, date, sequence)
     where a.answer is null;

-- What closed days were closed with, where their postings add up to something else.
create view wrong_closings as
    with marked as (
        select d.day, k.kind, k.unit from closed_days d, (select distinct kind, unit from movements where kind >= 100) k where d.closed_at is not null
    ), summed as (
        select day, kind, unit, closing, sum(balance) over (partition by kind, unit order by day, closing) as balance
          from (select booked_on as day, kind, unit, false as closing, sum(signed) as balance from movements where kind >= 100 group by 1, 2, 3
                union all
                select day, kind, unit, true, 0 from marked) each
    )
    select day as date, kind, unit, coalesce(c.balance, 0) as found, coalesce(s.balance, 0) as expected
      from (select * from summed where closing) s
      full join (select c.* from closing_balances c join closed_days d using (day) where d.closed_at is not null) c using (day, kind, unit)
     where coalesce(c.balance, 0) <> coalesce(s.balance, 0);

-- Balances that are not what their postings add up to.
create view unbalanced_balances as
    select card, kind, unit, balance::numeric as found, posted::numeric as expected from unbalanced_accounts;

-- Accounts that hold back another sum than their open holds make. (`unbalanced_holds` in the words of the others.)
create view unbalanced_held as
    select card, unit, held::numeric as found, open::numeric as expected from unbalanced_holds;

-- Units that do not sum to zero.
create view unbalanced_units as
    select unit, sum(balance) as found, 0::numeric as expected from trial_balance group by unit having sum(balance) <> 0;

-- ------------------------------------------------------------------------------------------------------------- what there is

-- What stands on the accounts of each kind by unit: card accounts by the kind of their programme, above and below zero apart.
create view book_summary as
    select a.unit, n.name as account, k.kind as programme_kind, count(*) filter (where a.balance <> 0) as accounts,
           coalesce(sum(a.balance) filter (where a.balance > 0), 0) as above, coalesce(sum(a.balance) filter (where a.balance < 0), 0) as below
      from accounts a join account_kinds n using (kind) left join card_kinds k using (card)
     group by 1, 2, 3
    union all
    select b.unit, n.name, null, null, greatest(b.balance, 0), least(b.balance, 0)
      from issuer_balances b join account_kinds n using (kind);

-- Each hold that is open; `over` where its time is over and nobody has ended it yet.
create view open_holds as
    select h.module, h.date, h.sequence, a.number, h.card, h.unit, h.amount, h.expires_at, h.expires_at <= clock_timestamp() as over
      from holds h left join authorizations a using (module, date, sequence)
     where h.ended is null;

-- What cards owe, because what was undone had been spent.
create view owing_cards as
    select card, unit, -balance as amount from accounts where kind = 2 and balance < 0;

-- What was booked as lost.
create view losses as
    select p.module, p.date, p.sequence, a.number, p.card, p.unit, p.amount, p.booked_on
      from postings p left join authorizations a using (module, date, sequence)
     where p.debit = 102 or p.credit = 102;

-- Totals in which a module had counted otherwise than the switch.
create view differing_totals as
    select t.module, t.date, t.sequence, a.number, t.unit, t.first, t.last, t.asked, t.counted
      from totals t left join authorizations a using (module, date, sequence)
     where t.asked <> t.counted;

-- Passes that have ended and have not lapsed yet.
create view passes_to_lapse as
    select p.card, a.unit, a.balance as amount, p.lapses_on
      from passes p join accounts a on a.card = p.card and a.kind = 1
     where a.balance > 0 and p.lapses_on <= (select (clock_timestamp() at time zone zone)::date from issuer);

-- --------------------------------------------------------------------------------------------------------------- the reports
--
-- A report counts by booked day: what was booked on a day stays there, and a reversal counts on its own day, branch and cashier, at
-- the sort of movement that it undid. "On a day" is at its end: what was booked on it or before.

-- Every movement as finance names it. Names of a booked day are dated at most 37 days before it and 2 behind: who asks for days gives
-- `date` too, so that only the months are read that can hold them. What lapses has no branch, and `date` is the booked day.
create view finance_movements as
    select a.booked_on, a.decided_at, a.branch, a.module, a.date, a.sequence, a.number, a.cashier, a.programme, a.card, a.unit, m.movement,
           a.command = 24 as reversal, a.approved as amount
      from authorizations a
      left join authorizations o on a.command = 24 and o.module = a.original_module and o.date = a.original_date and o.sequence = a.original_sequence
      cross join lateral (select case when a.command = 24 then o.command else a.command end as command) k
      cross join lateral (select case when k.command in (17, 18) then 'load' when k.command in (19, 21) then 'sale' when k.command = 23 then 'refund'
                                      when k.command = 25 then 'payment' when k.command = 26 then 'visit' when k.command = 27 then 'cash-out'
                                      else 'other' end as movement) m
     where a.postings is not null
    union all
    select l.booked_on, l.decided_at, null, null, l.booked_on, l.id, null, null, c.programme, l.card, l.unit, 'lapse', false, l.amount
      from lapses l join cards c on c.id = l.card;

-- What was moved on booked days, by what is asked for: day, branch, module, cashier, programme.
create function turnover(p_from date, p_to date, p_by text[],
    out day date, out branch integer, out module bigint, out cashier bigint, out programme integer, out unit integer, out movement text,
    out count bigint, out amount numeric, out reversals bigint, out reversed numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select case when 'day' = any (p_by) then m.booked_on end, case when 'branch' = any (p_by) then m.branch end,
           case when 'module' = any (p_by) then m.module end, case when 'cashier' = any (p_by) then m.cashier end,
           case when 'programme' = any (p_by) then m.programme end, m.unit, m.movement,
           count(*) filter (where not m.reversal), coalesce(sum(m.amount) filter (where not m.reversal), 0),
           count(*) filter (where m.reversal), coalesce(sum(m.amount) filter (where m.reversal), 0)
      from finance_movements m
     where m.booked_on between p_from and p_to and m.date between p_from - 40 and p_to + 3
     group by 1, 2, 3, 4, 5, 6, 7
     order by 1, 2, 3, 4, 5, 6, 7
$$;

-- What cards held at the end of a booked day: what they hold now, less what was booked since.
create function balances_on(p_day date, out card bigint, out kind smallint, out unit integer, out balance numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select b.card, b.kind, b.unit, sum(b.balance)
      from (select card, kind, unit, balance from accounts
            union all
            select card, kind, unit, -signed from movements where kind < 100 and booked_on > p_day) b
     group by b.card, b.kind, b.unit having sum(b.balance) <> 0
$$;

-- By programme: cards with something on them, what they are owed, what they owe on credit, and what they owe after an undoing.
create function outstanding_on(p_day date,
    out programme integer, out kind text, out unit integer, out cards bigint, out liability numeric, out receivable numeric, out owed numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select k.programme, k.kind, b.unit, count(distinct b.card), coalesce(sum(b.balance) filter (where b.kind = 1 and b.balance > 0), 0),
           coalesce(-sum(b.balance) filter (where b.kind = 1 and b.balance < 0), 0), coalesce(-sum(b.balance) filter (where b.kind = 2), 0)
      from balances_on(p_day) b join card_kinds k using (card)
     group by k.programme, k.kind, b.unit order by k.programme, b.unit
$$;

-- The charges that the debts of credit cards were made of at the end of a booked day: the newest ones that cover them, as
-- `ledger/charges.py` says. Where charges do not cover a debt, since money was paid out and its payment undone, the rest is due that
-- day and belongs to no purchase.
create function open_charges_on(p_day date, p_card bigint,
    out card bigint, out programme integer, out unit integer, out module bigint, out date date, out sequence bigint, out due_on date, out amount numeric, out open numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    with owing as materialized (
        select k.card, k.programme, k.unit, -sum(b.balance) as debt
          from card_kinds k join (select * from balances_on(p_day) where p_card is null or card = p_card) b using (card)
         where k.kind = 'credit' and (p_card is null or k.card = p_card)
         group by k.card, k.programme, k.unit having sum(b.balance) < 0
    ), charged as materialized (
        select c.*, c.amount - coalesce(u.undone, 0) as net,
               coalesce(sum(c.amount - coalesce(u.undone, 0)) over (partition by c.card order by c.id desc
                                                                    rows between unbounded preceding and 1 preceding), 0) as newer
          from owing o
          join charges c using (card)
          join authorizations a on a.module = c.module and a.date = c.date and a.sequence = c.sequence and a.booked_on <= p_day
          left join lateral (select sum(u.amount) as undone
                               from undos u join authorizations b on b.module = u.by_module and b.date = u.by_date and b.sequence = u.by_sequence
                              where u.module = c.module and u.date = c.date and u.sequence = c.sequence and b.booked_on <= p_day) u on true
    ), parts as (
        select o.card, o.programme, o.unit, c.module, c.date, c.sequence, c.due_on, c.amount, c.id, least(c.net, o.debt - c.newer) as open
          from owing o join charged c using (card) where c.net > 0 and o.debt > c.newer
        union all
        select o.card, o.programme, o.unit, null, null, null, p_day, null, null, o.debt - coalesce(c.net, 0)
          from owing o left join (select card, sum(net) as net from charged group by card) c using (card)
         where o.debt > coalesce(c.net, 0)
    )
    select card, programme, unit, module, date, sequence, due_on, amount, open from parts order by card, id nulls first
$$;

-- How long what credit cards owe has been due, at the end of a booked day.
create function ageing_on(p_day date,
    out card bigint, out programme integer, out unit integer, out debt numeric,
    out current numeric, out to_30 numeric, out to_60 numeric, out to_90 numeric, out beyond numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select card, programme, unit, sum(open),
           coalesce(sum(open) filter (where p_day - due_on <= 0), 0), coalesce(sum(open) filter (where p_day - due_on between 1 and 30), 0),
           coalesce(sum(open) filter (where p_day - due_on between 31 and 60), 0), coalesce(sum(open) filter (where p_day - due_on between 61 and 90), 0),
           coalesce(sum(open) filter (where p_day - due_on > 90), 0)
      from open_charges_on(p_day, null)
     group by card, programme, unit order by programme, card
$$;

-- What happened to a card's value on booked days, and to what it owes: each movement with its effect on both together.
create function card_movements(p_card bigint, p_from date, p_to date,
    out booked_on date, out decided_at timestamptz, out number bigint, out branch integer, out module bigint, out movement text, out reversal boolean,
    out unit integer, out effect numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select m.booked_on, m.decided_at, m.number, m.branch, m.module, m.movement, m.reversal, m.unit,
           case when (m.movement in ('load', 'payment', 'refund')) <> m.reversal then m.amount else -m.amount end
      from finance_movements m
     where m.card = p_card and m.booked_on between p_from and p_to
     order by m.decided_at, m.sequence
$$;

-- What a card held and owed at the end of a booked day, by unit: above zero what it is owed, below what it owes.
create function card_balance_on(p_card bigint, p_day date, out unit integer, out balance numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select unit, sum(signed) from movements where card = p_card and kind < 100 and booked_on <= p_day group by unit
$$;

-- What each branch took for cards and gave on them, and of that what it gave on cards that another branch had sold, and others on its
-- own: the branch of a card is the one that activated it last.
create function settlement(p_from date, p_to date,
    out branch integer, out unit integer, out taken numeric, out given numeric, out given_on_others numeric, out given_elsewhere numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    with moved as materialized (
        select m.branch, m.card, m.unit,
               sum(case when m.movement in ('load', 'payment') then 1 when m.movement = 'cash-out' then -1 else 0 end
                   * case when m.reversal then -m.amount else m.amount end) as taken,
               sum(case when m.movement in ('sale', 'visit') then 1 when m.movement = 'refund' then -1 else 0 end
                   * case when m.reversal then -m.amount else m.amount end) as given
          from finance_movements m
         where m.branch is not null and m.booked_on between p_from and p_to and m.date between p_from - 40 and p_to + 3
         group by m.branch, m.card, m.unit
    ), homes as materialized (
        select distinct on (card) card, branch from authorizations
         where command = 17 and result in (0, 10) and not tombstone and card in (select card from moved) order by card, decided_at desc
    ), sides as (
        select m.branch, m.unit, m.taken, m.given, case when h.branch <> m.branch then m.given else 0 end as on_others, 0::numeric as elsewhere
          from moved m left join homes h using (card)
        union all
        select h.branch, m.unit, 0, 0, 0, m.given from moved m join homes h using (card) where h.branch <> m.branch
    )
    select branch, unit, sum(taken), sum(given), sum(on_others), sum(elsewhere) from sides group by branch, unit order by unit, branch
$$;

-- -------------------------------------------------------------------------------------------------------------- the journal
--
-- Every side of every posting with what a journal names it by. `debit` is signed as a bookkeeper signs it: a debit is above zero.
create view journal_lines as
    select a.booked_on, a.decided_at, a.branch, a.module, a.date, a.sequence, a.number, a.command, a.card, a.programme,
           p.ordinal, k.kind, p.unit, k.debit
      from authorizations a, unnest(a.postings) with ordinality p(debit, credit, unit, amount, ordinal),
           lateral (values (p.debit, p.amount), (p.credit, -p.amount)) k(kind, debit)
     where a.postings is not null
    union all
    select l.booked_on, l.decided_at, null, 0, l.booked_on, l.id, null, null, l.card, c.programme, 1, k.kind, l.unit, k.debit
      from lapses l join cards c on c.id = l.card, lateral (values (1::smallint, l.amount), (103::smallint, -l.amount)) k(kind, debit);

-- By booked day and branch: what moved on each account. Only a card's accounts are told by programme, only tender and sales by branch.
create function journal_by_day(p_from date, p_to date,
    out booked_on date, out branch integer, out kind smallint, out programme integer, out unit integer, out debit numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select booked_on, branch, kind, case when kind < 100 then programme end, unit, sum(debit)
      from journal_lines
     where booked_on between p_from and p_to and date between p_from - 40 and p_to + 3
     group by 1, 2, 3, 4, 5 having sum(debit) <> 0
     order by booked_on, branch nulls last, unit, kind, 4
$$;

-- By authorization, in the order of their decisions.
create function journal_by_authorization(p_from date, p_to date,
    out booked_on date, out branch integer, out module bigint, out date date, out sequence bigint, out number bigint, out command integer, out card bigint,
    out kind smallint, out programme integer, out unit integer, out debit numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select booked_on, branch, module, date, sequence, number, command, card, kind, case when kind < 100 then programme end, unit, debit
      from journal_lines
     where booked_on between p_from and p_to and date between p_from - 40 and p_to + 3
     order by booked_on, decided_at, module, date, sequence, ordinal, debit desc
$$;

-- Each account that has moved until the end of a booked day, and the first day that it did.
create function journal_accounts(p_to date, out kind smallint, out programme integer, out branch integer, out first date)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select kind, case when kind < 100 then programme end, case when kind in (100, 101) then branch end, min(booked_on)
      from journal_lines where booked_on <= p_to group by 1, 2, 3 order by 1, 2, 3
$$;

-- What stood on each account at the end of a closed day, by the balances of cards and by what the day was closed with, and not by postings.
create function journal_balances(p_day date, out kind smallint, out programme integer, out unit integer, out debit numeric)
    returns setof record language sql stable security definer set search_path = @schema@, pg_temp as $$
    select b.kind, k.programme, b.unit, -sum(b.balance) from balances_on(p_day) b join card_kinds k using (card) group by 1, 2, 3
    union all
    select kind, null, unit, -balance from closing_balances where day = p_day
    order by 1, 2, 3
$$;

revoke all on movement_rules from public;
revoke all on function late_totals_since, turnover, balances_on, outstanding_on, open_charges_on, ageing_on, card_movements, card_balance_on, settlement,
    journal_by_day, journal_by_authorization, journal_accounts, journal_balances from public;
