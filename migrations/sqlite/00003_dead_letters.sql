-- Transactions that could not be applied and were passed, and those that wait behind
-- them. A row is deleted in the SQL transaction that applies it after all. One that
-- was discarded stays, as the record of what the view will never hold. May share
-- a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_dead_letters (
  name           TEXT    NOT NULL,
  version        INTEGER NOT NULL,
  partition      INTEGER NOT NULL,
  transaction_id INTEGER NOT NULL,
  state          TEXT    NOT NULL, -- 'dead'; 'held' behind another; 'retry' was asked for; 'discarded'
  header         INTEGER NOT NULL,
  kind           TEXT    NOT NULL,
  business_key   TEXT    NOT NULL,
  view_keys      TEXT    NOT NULL, -- what it changes, as a JSON array; '' if nobody said
  data           BLOB    NOT NULL,
  committed_at   INTEGER NOT NULL, -- microseconds since 1970
  error_class    TEXT    NOT NULL,
  error_code     TEXT    NOT NULL,
  error          TEXT    NOT NULL, -- in full, values of rows included; '' if it is held
  instance       TEXT    NOT NULL,
  failed_at      INTEGER NOT NULL, -- milliseconds since 1970; or since when it is held
  attempts       INTEGER NOT NULL, -- how often it was found wanting; 0 if it is held
  reason         TEXT    NOT NULL, -- why it was discarded
  changed_by     TEXT    NOT NULL, -- who asked for a retry, or discarded it
  PRIMARY KEY (name, version, partition, transaction_id)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE waltz_dead_letters;
