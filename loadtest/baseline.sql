-- What the switch is compared with: cards with money on them, as a good engineer would write it who has no switch.
-- One call a transaction: the name is taken once (a repeat gets the recorded result), the debit is guarded, the
-- movement is posted, the balance kept. No rules, no access codes, no receipts, no encryption.
drop schema if exists baseline cascade;
create schema baseline;
set search_path = baseline;

create table accounts (
    card    bigint primary key,
    balance bigint not null check (balance >= 0)
) with (fillfactor = 80);

create table authorizations (
    module     bigint not null,
    date       date not null,
    sequence   bigint not null,
    card       bigint not null,
    amount     bigint not null,
    result     smallint not null,
    decided_at timestamptz not null default clock_timestamp(),
    primary key (module, date, sequence)
);

create table postings (
    module     bigint not null,
    date       date not null,
    sequence   bigint not null,
    card       bigint not null,
    debit      smallint not null,
    credit     smallint not null,
    amount     bigint not null check (amount > 0),
    primary key (module, date, sequence)
);

create function authorize(p_module bigint, p_date date, p_sequence bigint, p_card bigint, p_amount bigint) returns smallint
    language plpgsql set search_path = baseline as $$
declare
    outcome smallint;
begin
    insert into authorizations (module, date, sequence, card, amount, result)
        values (p_module, p_date, p_sequence, p_card, p_amount, 0) on conflict do nothing;
    if not found then
        select result into outcome from authorizations where module = p_module and date = p_date and sequence = p_sequence;
        return outcome;
    end if;
    update accounts set balance = balance - p_amount where card = p_card and balance >= p_amount;
    if not found then
        update authorizations set result = 51 where module = p_module and date = p_date and sequence = p_sequence;
        return 51;
    end if;
    insert into postings (module, date, sequence, card, debit, credit, amount)
        values (p_module, p_date, p_sequence, p_card, 1, 101, p_amount);
    return 0;
end $$;
