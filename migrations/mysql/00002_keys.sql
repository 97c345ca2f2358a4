-- Business keys of the transactions that a view holds: the first of each key.
-- Keys are bytes to the framework. DDL commits by itself: one statement, which may
-- be run again.
-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS waltz_keys (
  number         bigint         NOT NULL COMMENT 'of the row in waltz_high_water_marks',
  business_key   varbinary(255) NOT NULL,
  transaction_id bigint         NOT NULL,
  PRIMARY KEY (number, business_key)
) ENGINE=InnoDB;

-- +goose Down
DROP TABLE IF EXISTS waltz_keys;
