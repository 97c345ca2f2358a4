-- Business keys of the transactions that a view holds: the first of each key.
-- Keys are bytes to the framework.
-- May share a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_keys (
  number         bigint NOT NULL, -- of the row in waltz_high_water_marks
  business_key   bytea  NOT NULL,
  transaction_id bigint NOT NULL,
  PRIMARY KEY (number, business_key)
);

-- +goose Down
DROP TABLE waltz_keys;
