-- Business keys of the transactions that a view holds: the first of each key.
-- May share a transaction with other statements.
-- +goose Up
CREATE TABLE waltz_keys (
  number         INTEGER NOT NULL, -- of the row in waltz_high_water_marks
  business_key   TEXT    NOT NULL,
  transaction_id INTEGER NOT NULL,
  PRIMARY KEY (number, business_key)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE waltz_keys;
