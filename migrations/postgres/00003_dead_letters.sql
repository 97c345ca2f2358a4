-- Transactions that could not be applied and were passed. A row is deleted when it
-- was retried or discarded. May share a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_dead_letters (
  name           text        NOT NULL,
  version        integer     NOT NULL,
  partition      integer     NOT NULL,
  transaction_id bigint      NOT NULL,
  header         integer     NOT NULL,
  kind           text        NOT NULL,
  business_key   bytea       NOT NULL,
  data           bytea       NOT NULL,
  committed_at   timestamptz NOT NULL,
  error_class    text        NOT NULL,
  error_code     text        NOT NULL,
  error          text        NOT NULL, -- in full, values of rows included
  instance       text        NOT NULL,
  failed_at      timestamptz NOT NULL,
  PRIMARY KEY (name, version, partition, transaction_id)
);

-- +goose Down
DROP TABLE waltz_dead_letters;
