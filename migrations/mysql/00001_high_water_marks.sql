-- One row for each partition of each view: which transactions the view holds,
-- and who may apply the next ones. DDL commits by itself: one statement, which may
-- be run again.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS waltz_high_water_marks (
  number          bigint       NOT NULL AUTO_INCREMENT PRIMARY KEY COMMENT 'short name of the row',
  name            varchar(64)  NOT NULL COMMENT 'of the view',
  version         int          NOT NULL COMMENT 'of the view',
  `partition`     int          NOT NULL,
  high_water_mark bigint       NOT NULL COMMENT 'transactions 0 to it are in the view, exactly; -1: none',
  epoch           bigint       NOT NULL COMMENT 'raised to fence an instance',
  owner           varchar(100) NOT NULL COMMENT 'instance that applied last, or holds the lease',
  lease_until     datetime(3)  NOT NULL COMMENT 'UTC, by the clock of this database',
  log_id          varchar(100) NOT NULL COMMENT 'identity of the log that the view is made from',
  meaning_hash    varchar(100) NOT NULL COMMENT 'what the rules meant that applied last; empty if nobody said',
  state           varchar(32)  NOT NULL,
  updated_at      datetime(3)  NOT NULL,
  applied         bigint       NOT NULL COMMENT 'transactions that had effects',
  dead            bigint       NOT NULL COMMENT 'transactions that became dead letters, ever',
  skipped         bigint       NOT NULL COMMENT 'transactions that could not be applied and are kept nowhere',
  last_error_code varchar(64)  NOT NULL,
  UNIQUE KEY view_partition (name, version, `partition`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS waltz_high_water_marks;
