-- What people set up: the issuer, branches, programmes, modules, keys and cards.
--
-- Run by the owner's role from the command line, never by the switch, which has no right on any of it. Each function is one
-- call and all or nothing. What it refuses it refuses as AU010, in words for the operator who gave the command; no message
-- holds a card's token or a key.

create function refuse(p_message text) returns void language plpgsql as $$
begin
    raise exception '%', p_message using errcode = 'AU010';
end $$;

-- The one issuer of this schema; for ever, since its number is part of every token and its zone of every booked day.
create function set_issuer(p_number bigint, p_name text, p_zone text, p_currency integer, p_code text, p_exponent smallint, p_group bigint)
    returns void language plpgsql set search_path = @schema@, pg_temp as $$
begin
    if exists (select from issuer) then
        perform refuse(format('this database is the one of issuer %s, %s; another issuer needs another schema',
                              (select number from issuer), (select name from issuer)));
    end if;
    begin
        perform clock_timestamp() at time zone p_zone;
    exception when invalid_parameter_value then
        perform refuse(format('the database does not know the zone %s; give one of IANA''s, like Europe/Riga', p_zone));
    end;
    insert into issuer (number, name, zone, currency, code, exponent, group_number)
        values (p_number, p_name, p_zone, p_currency, p_code, p_exponent, p_group);
end $$;

create function add_branch(p_number integer, p_name text) returns void
    language plpgsql set search_path = @schema@, pg_temp as $$
begin
    insert into branches (number, name) values (p_number, p_name) on conflict do nothing;
    if not found then
        perform refuse(format('branch %s is there already, as %s', p_number, (select name from branches where number = p_number)));
    end if;
end $$;

-- A programme's first version, or a further one; returns the programme's number.
create function add_programme(p_name text, p_version integer, p_effective_from date, p_document jsonb) returns integer
    language plpgsql set search_path = @schema@, pg_temp as $$
declare
    known integer;
    last  programme_versions;
begin
    if p_document ->> 'currency' is distinct from (select code from issuer) then
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
    insert into programme_versions (programme, version, effective_from, document) values (known, p_version, p_effective_from, p_document);
    return known;
end $$;

-- Keys, wrapped already: all of them or none.
create function add_keys(p_purpose text[], p_owner bigint[], p_version integer[], p_sealed bytea[], p_check_value bytea[]) returns void
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
    insert into keys (purpose, owner, version, sealed, check_value)
        select * from unnest(p_purpose, p_owner, p_version, p_sealed, p_check_value);
end $$;

-- Modules with their first root keys, an array element each.
create function enroll_modules(
    p_number bigint[], p_branch integer[], p_name text[], p_suite smallint[], p_desk boolean[], p_partial boolean[],
    p_columns smallint[], p_code_page smallint[], p_language text[], p_deadline_s smallint[], p_bad_cards_per_day integer[],
    p_sealed bytea[], p_check_value bytea[]) returns void
    language plpgsql set search_path = @schema@, pg_temp as $$
declare
    wrong bigint;
begin
    select min(n) into wrong from unnest(p_number) n where exists (select from modules where number = n);
    if wrong is not null then
        perform refuse(format('module %s is enrolled already', wrong));
    end if;
    select min(n) into wrong from unnest(p_branch) n where not exists (select from branches where number = n);
    if wrong is not null then
        perform refuse(format('there is no branch %s; add it with `authsrv branch add`', wrong));
    end if;
    insert into modules (number, branch, name, suite, desk, partial, columns, code_page, language, deadline_s, bad_cards_per_day)
        select * from unnest(p_number, p_branch, p_name, p_suite, p_desk, p_partial,
                             p_columns, p_code_page, p_language, p_deadline_s, p_bad_cards_per_day);
    perform add_keys(array_fill('module'::text, array[cardinality(p_number)]), p_number,
                     array_fill(1, array[cardinality(p_number)]), p_sealed, p_check_value);
end $$;

-- As many new card ids; a verifier is bound to its card's id, so that ids come first.
create function reserve_card_ids(p_count integer) returns bigint[]
    language sql volatile set search_path = @schema@, pg_temp as $$
    select array_agg(nextval(pg_get_serial_sequence('@schema@.cards', 'id'))) from generate_series(1, p_count)
$$;

-- Cards of one programme, not active yet, under ids that were reserved; a null verifier is a card without access code.
create function issue_cards(
    p_id bigint[], p_programme integer, p_verifier_key integer, p_verifier bytea[], p_token_key integer, p_token bytea[]) returns void
    language plpgsql set search_path = @schema@, pg_temp as $$
declare
    known bigint;
begin
    select count(*) into known from unnest(p_token) t, lateral (select from card_numbers where token = t offset 0) n;
    if known > 0 then
        perform refuse(format('%s of these %s card numbers are issued already; none was issued now', known, cardinality(p_token)));
    end if;
    insert into cards (id, programme, verifier_key, verifier)
        select id, p_programme, case when v is not null then p_verifier_key end, v from unnest(p_id, p_verifier) c(id, v);
    insert into card_numbers (token, token_key, card) select t, p_token_key, id from unnest(p_token, p_id) n(t, id);
end $$;
