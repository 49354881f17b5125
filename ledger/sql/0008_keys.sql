-- Keys that change while the switch works.
--
-- A key has a state. What must hold:
--   * `coming`: made, and nothing is decided by it yet; no switch sees it. `settling`: in use, while what stands under the version before
--     is brought forward. `used`. `ended`: taken no more; its bytes are gone and its check value stays, so that it is never taken again.
--   * A new version of an issuer's key is begun at a standstill (`stand_still`): every batch that read the count of changes before has
--     ended, and every batch that reads it afterwards is decided with the new key. So no batch ever meets what a key made that it does not
--     know, and the hot path pays nothing for that: reading the count is the lock.
--   * A card number is found by its token alone, so that tokens of two versions must both lead to a card while a new key comes. Its row
--     gets an `heir`, a row of its own under the coming key, in short transactions of a few rows, while all tills work by the old ones; what
--     changes a row changes its heir (a trigger). Then the new key is begun, in one short standstill: from that commit on, whoever decides
--     decides by heirs. The old rows are read by nobody then and are taken away in short transactions too. Each number has one row without
--     an heir at every moment.
--   * Tries are by token too, for unknown cards as well, and have no heirs: those that are not zero are put under the new key in the standstill.

alter table keys add column state text not null default 'used' check (state in ('coming', 'settling', 'used', 'ended'));
alter table modules add column rekey boolean not null default false;  -- it is to take its next generation
alter table registry_version add column token_key integer not null default 1;  -- that tokens are looked up by
alter table card_numbers add column heir bytea;                       -- the same number's token under the coming key

-- Keys, wrapped already: all of them or none. (As in 0001, and in a state.)
drop function add_keys(text[], bigint[], integer[], bytea[], bytea[]);
create function add_keys(p_purpose text[], p_owner bigint[], p_version integer[], p_sealed bytea[], p_check_value bytea[], p_state text default 'used') returns void
    language plpgsql set search_path = @schema@, pg_temp as $$
declare
    taken record;
begin
    select k.purpose, k.owner, k.version into taken
      from unnest(p_purpose, p_owner, p_version) n(purpose, owner, version) join keys k using (purpose, owner, version) limit 1;
    if found then
        perform refuse(format('there is a %s key of %s, version %s, already', taken.purpose, taken.owner, taken.version));
    end if;
    select k.purpose, k.owner, k.version into taken
      from unnest(p_check_value) n(check_value) join keys k using (check_value) limit 1;
    if found then
        perform refuse(format('this key is in use already, as the %s key of %s, version %s; no two keys may be equal',
                              taken.purpose, taken.owner, taken.version));
    end if;
    insert into keys (purpose, owner, version, sealed, check_value, state)
        select p, o, v, s, c, p_state from unnest(p_purpose, p_owner, p_version, p_sealed, p_check_value) n(p, o, v, s, c);
end $$;

-- What the switches do not see of keys is no change to them: who is told of one loads everything anew.
create function count_change_of_keys() returns trigger language plpgsql security definer set search_path = @schema@, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        if not exists (select from after where state in ('settling', 'used')) then
            return null;
        end if;
    elsif not exists (select purpose, owner, version, sealed, state in ('settling', 'used') from after
                      except select purpose, owner, version, sealed, state in ('settling', 'used') from before) then
        return null;
    end if;
    update registry_version set version = version + 1;
    return null;
end $$;
drop trigger changed on keys;
create trigger changed after insert on keys referencing new table as after for each statement execute function count_change_of_keys();
create trigger altered after update on keys referencing old table as before new table as after for each statement execute function count_change_of_keys();
create trigger removed after delete on keys for each statement execute function count_change();

create or replace view switch_keys as
    select purpose, owner, version, sealed, check_value from keys where state in ('settling', 'used') and purpose <> 'component';

create or replace view switch_modules as
    select m.number, m.branch, m.name, m.suite, m.desk, m.partial, m.columns, m.code_page, m.language, m.deadline_s, m.bad_cards_per_day, m.revoked,
           b.name as branch_name, m.rekey
      from modules m join branches b on b.number = m.branch;

-- Where the switch writes tries it does not say under which key: under the one that it looks tokens up by.
create function token_key_in_use() returns integer
    language sql stable set search_path = @schema@, pg_temp as $$ select token_key from registry_version $$;
alter table tries add column token_key integer not null default 1;
alter table tries alter column token_key set default @schema@.token_key_in_use();

create function follow_heir() returns trigger
    language plpgsql security definer set search_path = @schema@, pg_temp as $$
begin
    update card_numbers set card = new.card, live = new.live where token = new.heir;
    return null;
end $$;
create trigger followed after update of card, live on card_numbers for each row when (new.heir is not null) execute function follow_heir();

-- Keeps out, to the end of the transaction, all who work with keys but are no batch: who issue cards, enrol modules, load the rules.
create function hold_keys() returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    lock table keys in access exclusive mode;
end $$;

-- Keeps out batches too: waits for those that have read the count of changes, and lets no other read it before the end of the
-- transaction. Tills wait meanwhile, so it gives up after `p_patience_ms`, as `lock_not_available`. A batch has its snapshot for the count
-- behind its lock, so that one that waited here sees what was committed. Keys are held first, everywhere, lest two wait in a circle.
create function stand_still(p_patience_ms integer) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    perform hold_keys();
    perform set_config('lock_timeout', p_patience_ms::text, true);
    lock table registry_version in access exclusive mode;
end $$;

create function set_key_state(p_purpose text, p_owner bigint, p_version integer, p_state text) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    update keys set state = p_state, sealed = case when p_state = 'ended' then '' else sealed end
     where purpose = p_purpose and owner = p_owner and version = p_version and state <> 'ended';
    if not found then
        perform refuse(format('there is no %s key of %s, version %s, that could be made %s', p_purpose, p_owner, p_version, p_state));
    end if;
end $$;

-- A version of a group's or module's key is taken no more; the newest stays, since nobody could sign on without one.
create function end_key(p_purpose text, p_owner bigint, p_version integer) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    if p_purpose not in ('group', 'module') then
        perform refuse(format('a %s key is not ended: what was made under it needs it', p_purpose));
    end if;
    if not exists (select from keys where purpose = p_purpose and owner = p_owner and version > p_version and state = 'used') then
        perform refuse(format('version %s is the newest %s key of %s; make another one before this one is ended', p_version, p_purpose, p_owner));
    end if;
    perform set_key_state(p_purpose, p_owner, p_version, 'ended');
end $$;

-- Gives these numbers heirs under the coming key. What somebody else has locked just now is left out: to wait for it could be a circle.
create function give_heirs(p_token_key integer, p_token bytea[], p_heir bytea[]) returns integer
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
declare
    given integer;
begin
    with parents as (
        select c.token, c.card, c.live from card_numbers c
         where c.token = any (p_token) and c.heir is null and c.token_key < p_token_key for update skip locked
    ), heirs as (
        insert into card_numbers (token, token_key, card, live)
            select n.heir, p_token_key, p.card, p.live from parents p join unnest(p_token, p_heir) n(token, heir) using (token)
    )
    update card_numbers c set heir = n.heir from parents p join unnest(p_token, p_heir) n(token, heir) using (token) where c.token = p.token;
    get diagnostics given = row_count;
    return given;
end $$;

-- Begins the coming token key, at a standstill; with it come the tries that are not zero.
create function begin_token_key(p_token_key integer, p_token bytea[], p_failures smallint[]) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    insert into tries (token, failures, token_key) select t, f, p_token_key from unnest(p_token, p_failures) n(t, f);
    update registry_version set token_key = p_token_key;
    perform set_key_state('token', 0, p_token_key, 'settling');
end $$;

-- Takes away what is left under older token keys, at most so many rows behind a token; the last token, or null when all are gone.
create function forget_tokens(p_token_key integer, p_behind bytea, p_most integer) returns bytea
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
declare
    tokens bytea[];
begin
    if p_token_key > token_key_in_use() then
        raise exception 'the tokens in use are not forgotten' using errcode = 'AU011';
    end if;
    tokens := array(select token from card_numbers where token > p_behind order by token limit p_most);
    delete from card_numbers where token = any (tokens) and token_key < p_token_key;
    return tokens[cardinality(tokens)];
end $$;

create function forget_tries(p_token_key integer) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    if p_token_key > token_key_in_use() then
        raise exception 'the tries in use are not forgotten' using errcode = 'AU011';
    end if;
    delete from tries where token_key < p_token_key;
end $$;

-- Verifiers of an older version on cards behind an id, at most so many cards, under their locks; `last` is null when there are no more cards.
create function lock_verifiers(p_verifier_key integer, p_behind bigint, p_most integer, out last bigint, out ids bigint[], out versions integer[], out verifiers bytea[])
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
declare
    range bigint[];
begin
    range := array(select c.id from cards c where c.id > p_behind order by c.id limit p_most);
    last := range[cardinality(range)];
    select array_agg(l.id), array_agg(l.verifier_key), array_agg(l.verifier) into ids, versions, verifiers
      from (select * from cards c where c.id = any (range) and c.verifier_key < p_verifier_key order by c.id for no key update) l;
end $$;

create function bring_verifiers(p_verifier_key integer, p_id bigint[], p_verifier bytea[]) returns void
    language sql volatile set search_path = @schema@, pg_temp as $$
    update cards c set verifier_key = p_verifier_key, verifier = n.verifier
      from unnest(p_id, p_verifier) n(id, verifier) where c.id = n.id
$$;

-- All keys that are not ended, wrapped anew; all of them or none.
create function rewrap_keys(p_purpose text[], p_owner bigint[], p_version integer[], p_sealed bytea[]) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    if exists (select from keys k where k.state <> 'ended'
                  and not exists (select from unnest(p_purpose, p_owner, p_version) n(p, o, v) where n.p = k.purpose and n.o = k.owner and n.v = k.version)) then
        raise exception 'a key would be left under the old key-encryption key' using errcode = 'AU011';
    end if;
    update keys k set sealed = n.s from unnest(p_purpose, p_owner, p_version, p_sealed) n(p, o, v, s)
     where k.purpose = n.p and k.owner = n.o and k.version = n.v and k.state <> 'ended';
end $$;

-- Cards of one programme, not active yet. (As in 0001; while a token key comes, each number needs its heir.)
drop function issue_cards(bigint[], integer, integer, bytea[], integer, bytea[]);
create function issue_cards(
    p_id bigint[], p_programme integer, p_verifier_key integer, p_verifier bytea[], p_token_key integer, p_token bytea[], p_heir bytea[] default null) returns void
    language plpgsql set search_path = @schema@, pg_temp as $$
declare
    coming integer := (select version from keys where purpose = 'token' and state = 'coming');
    known  bigint;
begin
    -- What is read here stays so until the caller's commit: `stand_still` waits for it.
    if p_token_key <> token_key_in_use() or (coming is null) <> (p_heir is null) then
        perform refuse('the key of card numbers was changed meanwhile; none was issued, give the command again');
    end if;
    select count(*) into known from unnest(p_token) t, lateral (select from card_numbers where token = t offset 0) n;
    if known > 0 then
        perform refuse(format('%s of these %s card numbers are issued already; none was issued now', known, cardinality(p_token)));
    end if;
    insert into cards (id, programme, verifier_key, verifier)
        select id, p_programme, case when v is not null then p_verifier_key end, v from unnest(p_id, p_verifier) c(id, v);
    insert into card_numbers (token, token_key, card, heir) select t, p_token_key, id, h from unnest(p_token, p_id, p_heir) n(t, id, h);
    if coming is not null then
        insert into card_numbers (token, token_key, card) select h, coming, id from unnest(p_heir, p_id) n(h, id);
    end if;
end $$;

create function revoke_module(p_number bigint, p_revoked boolean) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    update modules set revoked = p_revoked where number = p_number;
    if not found then
        perform refuse(format('there is no module %s', p_number));
    end if;
end $$;

-- Modules that are to take their next root key from a session of theirs; only suite 2 can.
create function rekey_modules(p_number bigint[]) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
declare
    wrong bigint;
begin
    select min(n) into wrong from unnest(p_number) n where not exists (select from modules where number = n);
    if wrong is not null then
        perform refuse(format('there is no module %s', wrong));
    end if;
    select min(number) into wrong from modules where number = any (p_number) and suite <> 2;
    if wrong is not null then
        perform refuse(format('module %s has suite 1 and cannot take a key from a session; give it a new kit, with `authsrv module rekey`', wrong));
    end if;
    select min(owner) into wrong from keys where purpose = 'module' and owner = any (p_number) and version >= 255;
    if wrong is not null then
        perform refuse(format('module %s has had 255 generations of keys; enrol it under another number', wrong));
    end if;
    update modules set rekey = true where number = any (p_number);
end $$;

-- A module's next generation from a new kit; the one before stays until a session of the new one is live, or until it is ended.
create function add_generation(p_module bigint, p_generation integer, p_sealed bytea, p_check_value bytea) returns void
    language plpgsql volatile set search_path = @schema@, pg_temp as $$
begin
    perform add_keys(array['module'], array[p_module], array[p_generation], array[p_sealed], array[p_check_value]);
    update modules set rekey = false where number = p_module;
end $$;

-- By the switch: next generations that live sessions have given, in the place of what earlier sessions gave. False, and nothing is
-- kept, where the caller has wrapped them by rules that have changed since: the key-encryption key may be another one.
create function take_generations(p_registry bigint, p_module bigint[], p_generation integer[], p_sealed bytea[], p_check_value bytea[]) returns boolean
    language plpgsql volatile security definer set search_path = @schema@, pg_temp as $$
begin
    lock table keys in row exclusive mode;  -- no key-encryption key changes from here on
    if p_registry <> (select version from registry_version) then
        return false;
    end if;
    insert into keys (purpose, owner, version, sealed, check_value)
        select 'module', n.m, n.g, n.s, n.c
          from unnest(p_module, p_generation, p_sealed, p_check_value) n(m, g, s, c)
          join modules m on m.number = n.m and m.rekey and not m.revoked and m.suite = 2
         where n.g <= 255
           and exists (select from keys k where k.purpose = 'module' and k.owner = n.m and k.version = n.g - 1 and k.state = 'used')
         order by n.m
        on conflict (purpose, owner, version) do update set sealed = excluded.sealed, check_value = excluded.check_value, created_at = clock_timestamp()
            where keys.state = 'used';
    return true;
end $$;

-- By the switch: sessions of these generations are live, so that what is older is given up for good.
create function retire_generations(p_module bigint[], p_generation integer[]) returns void
    language plpgsql volatile security definer set search_path = @schema@, pg_temp as $$
begin
    update keys k set state = 'ended', sealed = ''
      from unnest(p_module, p_generation) n(m, g)
     where k.purpose = 'module' and k.owner = n.m and k.version < n.g and k.state = 'used'
       and exists (select from keys l where l.purpose = 'module' and l.owner = n.m and l.version = n.g and l.state = 'used');
    update modules m set rekey = false
      from unnest(p_module, p_generation) n(m, g)
     where m.number = n.m and m.rekey
       and exists (select from keys l where l.purpose = 'module' and l.owner = n.m and l.version = n.g and l.state = 'used');
end $$;

grant execute on function take_generations, retire_generations to @switch_role@;
