-- Transactions that could not be applied and were passed. A row is deleted when it
-- was retried or discarded. May share a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_dead_letters (
  name           TEXT    NOT NULL,
  version        INTEGER NOT NULL,
  partition      INTEGER NOT NULL,
  transaction_id INTEGER NOT NULL,
  header         INTEGER NOT NULL,
  kind           TEXT    NOT NULL,
  business_key   TEXT    NOT NULL,
  data           BLOB    NOT NULL,
  committed_at   INTEGER NOT NULL, -- microseconds since 1970
  error_class    TEXT    NOT NULL,
  error_code     TEXT    NOT NULL,
  error          TEXT    NOT NULL, -- in full, values of rows included
  instance       TEXT    NOT NULL,
  failed_at      INTEGER NOT NULL, -- milliseconds since 1970
  PRIMARY KEY (name, version, partition, transaction_id)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE waltz_dead_letters;
