-- Transactions that could not be applied and were passed. A row is deleted when it
-- was retried or discarded. DDL commits by itself: one statement, which may be run
-- again.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS waltz_dead_letters (
  name           varchar(64)    NOT NULL,
  version        int            NOT NULL,
  `partition`    int            NOT NULL,
  transaction_id bigint         NOT NULL,
  header         int            NOT NULL,
  kind           varchar(255)   NOT NULL,
  business_key   varbinary(255) NOT NULL,
  data           longblob       NOT NULL,
  committed_at   datetime(6)    NOT NULL COMMENT 'UTC',
  error_class    varchar(32)    NOT NULL,
  error_code     varchar(64)    NOT NULL,
  error          text           NOT NULL COMMENT 'in full, values of rows included',
  instance       varchar(100)   NOT NULL,
  failed_at      datetime(3)    NOT NULL COMMENT 'UTC',
  PRIMARY KEY (name, version, `partition`, transaction_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS waltz_dead_letters;
