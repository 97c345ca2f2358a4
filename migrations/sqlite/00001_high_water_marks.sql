-- One row for each partition of each view: which transactions the view holds,
-- and who may apply the next ones. May share a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_high_water_marks (
  number          INTEGER PRIMARY KEY, -- short name of the row
  name            TEXT    NOT NULL,    -- of the view
  version         INTEGER NOT NULL,    -- of the view
  partition       INTEGER NOT NULL,
  high_water_mark INTEGER NOT NULL,    -- transactions 0 to it are in the view, exactly; -1: none
  epoch           INTEGER NOT NULL,    -- raised to fence an instance
  owner           TEXT    NOT NULL,    -- instance that applied last, or holds the lease
  lease_until     INTEGER NOT NULL,    -- milliseconds since 1970, by this database's clock
  log_id          TEXT    NOT NULL,    -- identity of the log that the view is made from
  meaning_hash    TEXT    NOT NULL,    -- what the rules meant that applied last; '' if nobody said
  state           TEXT    NOT NULL,
  updated_at      INTEGER NOT NULL,    -- milliseconds since 1970
  applied         INTEGER NOT NULL,    -- transactions that had effects
  dead            INTEGER NOT NULL,    -- transactions that became dead letters, ever
  skipped         INTEGER NOT NULL,    -- transactions that could not be applied and are kept nowhere
  last_error_code TEXT    NOT NULL,
  UNIQUE (name, version, partition)
) STRICT;

-- +goose Down
DROP TABLE waltz_high_water_marks;
