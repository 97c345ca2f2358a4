-- Transactions that could not be applied and were passed, and those that wait behind
-- them. A row is deleted in the SQL transaction that applies it after all. One that
-- was discarded stays, as the record of what the view will never hold. DDL
-- commits by itself: one statement, which may be run again.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS waltz_dead_letters (
  name           varchar(64)    NOT NULL,
  version        int            NOT NULL,
  `partition`    int            NOT NULL,
  transaction_id bigint         NOT NULL,
  state          varchar(16)    NOT NULL COMMENT 'dead; held behind another; retry was asked for; discarded',
  header         int            NOT NULL,
  kind           varchar(255)   NOT NULL,
  business_key   varbinary(255) NOT NULL,
  view_keys      mediumtext     NOT NULL COMMENT 'what it changes, as a JSON array; empty if nobody said',
  data           longblob       NOT NULL,
  committed_at   datetime(6)    NOT NULL COMMENT 'UTC',
  error_class    varchar(32)    NOT NULL,
  error_code     varchar(64)    NOT NULL,
  error          text           NOT NULL COMMENT 'in full, values of rows included; empty if it is held',
  instance       varchar(100)   NOT NULL,
  failed_at      datetime(3)    NOT NULL COMMENT 'UTC; or since when it is held',
  attempts       int            NOT NULL COMMENT 'how often it was found wanting; 0 if it is held',
  reason         text           NOT NULL COMMENT 'why it was discarded',
  changed_by     varchar(100)   NOT NULL COMMENT 'who asked for a retry, or discarded it',
  PRIMARY KEY (name, version, `partition`, transaction_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS waltz_dead_letters;
