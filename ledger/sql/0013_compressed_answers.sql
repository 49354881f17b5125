-- Answers are compressed before they are sealed. No row changes and no function: what was sealed before stays as it is and opens as before.
--
-- It is a revision all the same, because a program of before cannot read what is sealed from now on: it would answer
-- repeats with 96. So it is refused when it starts, with the words that say why; one that runs has to be stopped before.

comment on column authorizations.answer is
    'the first page: four bits for the dictionary that it was compressed by (0: none), twelve for the version of the record key, a nonce of 12 bytes, then the sealed answer with its tag';
comment on column pages.answer is 'a further page, as authorizations.answer';
