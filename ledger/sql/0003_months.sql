-- Months are made by one of several processes that start at once; the others find them made.
--
-- Whoever waited for the lock must look with a new snapshot: `to_regclass` answers from the session's cache of the catalog, which
-- remembers that there was no such table and hears nothing of another's commit while it waits for an advisory lock.

-- Makes the month of `p_month` in all four partitioned tables and its number sequence; does nothing where it exists.
-- LIKE and ATTACH do not block writers, as long as no foreign key joins partitioned tables. (0005 has the function as it is now.)
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
    foreach parent in array array['authorizations', 'pages', 'postings', 'undos'] loop
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
