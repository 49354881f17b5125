-- What people at the issuer's own desks do: the trail of it, and desks that have no key.
--
--   * An act on a card or an authorization is a request like any other, under a name of a desk of the operators'. Its entry in the
--     trail and what it records come with one commit: there is no act without who and why, and no entry of what did not happen.
--   * Such a desk has no key and never signs on. Its names are given out here alone, one act after the other.
--   * Whoever asks for an act again that was approved gets that one's answer: the digest of what it is about tells it again.

alter table modules add column operators boolean not null default false;
alter table modules add constraint operators_are_a_desk check (desk or not operators);

create table audit_trail (
    id       bigint generated always as identity primary key,
    at       timestamptz not null default clock_timestamp(),
    who      text not null check (length(who) between 1 and 128),
    why      text not null check (length(why) <= 500),
    act      text not null check (length(act) between 1 and 64),      -- the words of the command
    detail   jsonb not null,                          -- what it was about: no card number, no code, no key
    digest   bytea,                                   -- keyed, of what must not happen twice; null: of what may
    module   bigint,                                  -- the name of the request, where there is one
    date     date,
    sequence bigint,
    unique (module, date, sequence),
    constraint whole_name check (num_nulls(module, date, sequence) in (0, 3))
);
create index on audit_trail (digest) where digest is not null;
create index on audit_trail (at);
create trigger append_only before update or delete on audit_trail for each row execute function refuse_change();
create trigger not_emptied before truncate on audit_trail for each statement execute function refuse_change();

-- A desk of the operators'.
create function add_desk(p_number bigint, p_branch integer, p_name text, p_columns smallint, p_language text) returns void
    language plpgsql set search_path = @schema@, pg_temp as $$
begin
    if exists (select from modules where number = p_number) then
        perform refuse(format('module %s is enrolled already', p_number));
    end if;
    if not exists (select from branches where number = p_branch) then
        perform refuse(format('there is no branch %s; add it with `authsrv branch add`', p_branch));
    end if;
    insert into modules (number, branch, name, suite, desk, operators, columns, language)
        values (p_number, p_branch, p_name, 1, true, true, p_columns, p_language);
end $$;

-- The desk that is meant: the given one, or the only one that there is.
create function operators_desk(p_module bigint) returns bigint
    language plpgsql stable set search_path = @schema@, pg_temp as $$
declare
    desks bigint[] := array(select number from modules where operators and not revoked and (p_module is null or number = p_module) order by number);
begin
    if cardinality(desks) = 1 then
        return desks[1];
    elsif p_module is not null then
        perform refuse(format('module %s is no desk of operators; `authsrv desk add` makes one', p_module));
    elsif cardinality(desks) = 0 then
        perform refuse('operators have no desk yet; `authsrv desk add` makes one');
    end if;
    perform refuse(format('there are several desks, %s; say which with --desk', array_to_string(desks, ', ')));
end $$;

-- Begins an act: a new name of the desk with its entry in the trail, or, with `done_at`, that of the same act that was approved before.
create function begin_act(
    p_module bigint, p_who text, p_why text, p_act text, p_detail jsonb, p_digest bytea,
    out date date, out sequence bigint, out time_of_day time, out done_at timestamptz, out done_by text, out done_as bigint)
    language plpgsql set search_path = @schema@, pg_temp as $$
declare
    local timestamp;
begin
    perform pg_advisory_xact_lock(hashtextextended(encode(p_digest, 'hex'), 0));  -- the same act at another desk waits
    perform from modules where number = p_module for update;                      -- and so does another act at this one
    -- What was undone since is not done.
    select t.date, t.sequence, t.at, t.who, t.module into date, sequence, done_at, done_by, done_as
      from audit_trail t join authorizations a using (module, date, sequence)
     where t.digest = p_digest and a.result in (0, 10)
       and not exists (select from undos u where (u.module, u.date, u.sequence) = (a.module, a.date, a.sequence) and u.reversal)
     order by t.id desc limit 1;
    if found then
        return;
    end if;
    select clock_timestamp() at time zone zone into local from issuer;
    date := local::date;
    time_of_day := date_trunc('second', local)::time;
    select 1 + greatest((select max(t.sequence) from audit_trail t where t.module = p_module), n.sequence, 0) into sequence
      from last_name(p_module) n;
    insert into audit_trail (who, why, act, detail, digest, module, date, sequence)
        values (p_who, p_why, p_act, p_detail, p_digest, p_module, begin_act.date, begin_act.sequence);
end $$;

-- After the database was brought back from a copy that lacks its last moments: authorization numbers go on so far ahead that none
-- which a receipt already has is given out again. Returns how many months have such numbers.
create function skip_numbers(p_many bigint) returns integer
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
declare
    numbers name;
    months  integer := 0;
    left_over bigint;
begin
    perform make_months();  -- a copy may be older than the months that have begun since
    for numbers in select relname from pg_class
                    where relnamespace = '@schema@'::regnamespace and relkind = 'S' and relname ~ '^numbers_[0-9]{6}$'
    loop
        execute format('select 99999998 - last_value - $1 from %I', numbers) into left_over using p_many;
        if left_over < 0 then
            perform refuse(format('%s has not so many numbers left; skip %s at most', numbers, left_over + p_many));
        end if;
        execute format('select setval(%L, last_value + $1) from %I', '@schema@.' || numbers, numbers) using p_many;
        months := months + 1;
    end loop;
    return months;
end $$;

-- For reconciling: entries of requests that are not recorded, and requests of such a desk of which nobody says who and why.
create view wrong_trail as
    select t.module, t.date, t.sequence
      from audit_trail t left join authorizations a using (module, date, sequence)
     where t.module is not null and a.module is null
    union all
    select a.module, a.date, a.sequence
      from authorizations a join modules m on m.number = a.module and m.operators
     where not a.tombstone and not exists (select from audit_trail t where (t.module, t.date, t.sequence) = (a.module, a.date, a.sequence));

revoke all on audit_trail, wrong_trail from public;
revoke all on function add_desk, operators_desk, begin_act, skip_numbers from public;
