-- Transactions that could not be applied and were passed, and those that wait behind
-- them. A row is deleted in the SQL transaction that applies it after all. One that
-- was discarded stays, as the record of what the view will never hold. May share
-- a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_dead_letters (
  name           text        NOT NULL,
  version        integer     NOT NULL,
  partition      integer     NOT NULL,
  transaction_id bigint      NOT NULL,
  state          text        NOT NULL, -- 'dead'; 'held' behind another; 'retry' was asked for; 'discarded'
  header         integer     NOT NULL,
  kind           text        NOT NULL,
  business_key   bytea       NOT NULL,
  view_keys      text        NOT NULL, -- what it changes, as a JSON array; '' if nobody said
  data           bytea       NOT NULL,
  committed_at   timestamptz NOT NULL,
  error_class    text        NOT NULL,
  error_code     text        NOT NULL,
  error          text        NOT NULL, -- in full, values of rows included; '' if it is held
  instance       text        NOT NULL,
  failed_at      timestamptz NOT NULL, -- or since when it is held
  attempts       integer     NOT NULL, -- how often it was found wanting; 0 if it is held
  reason         text        NOT NULL, -- why it was discarded
  changed_by     text        NOT NULL, -- who asked for a retry, or discarded it
  PRIMARY KEY (name, version, partition, transaction_id)
);

-- +goose Down
DROP TABLE waltz_dead_letters;
