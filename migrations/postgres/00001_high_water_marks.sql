-- One row for each partition of each view: which transactions the view holds,
-- and who may apply the next ones. May share a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_high_water_marks (
  number          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- short name of the row
  name            text        NOT NULL, -- of the view
  version         integer     NOT NULL, -- of the view
  partition       integer     NOT NULL,
  high_water_mark bigint      NOT NULL, -- transactions 0 to it are in the view, exactly; -1: none
  epoch           bigint      NOT NULL, -- raised to fence an instance
  owner           text        NOT NULL, -- instance that applied last, or holds the lease
  lease_until     timestamptz NOT NULL, -- by this database's clock
  log_id          text        NOT NULL, -- identity of the log that the view is made from
  meaning_hash    text        NOT NULL, -- what the rules meant that applied last; '' if nobody said
  state           text        NOT NULL,
  updated_at      timestamptz NOT NULL,
  applied         bigint      NOT NULL, -- transactions that had effects
  dead            bigint      NOT NULL, -- transactions that became dead letters, ever
  skipped         bigint      NOT NULL, -- transactions that could not be applied and are kept nowhere
  last_error_code text        NOT NULL,
  UNIQUE (name, version, partition)
) WITH (fillfactor = 50); -- room for the new version of a row that changes with every batch

-- +goose Down
DROP TABLE waltz_high_water_marks;
