-- The ledger's tables. All are derived from the log. Dates are text as ISO writes
-- them, which sorts as they do; flags are numbers: both are the same in all databases.
-- DDL commits by itself, so each file is one statement, which may be run again.

-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS account (
    account_id    bigint   NOT NULL PRIMARY KEY COMMENT 'below 0: the house''s own',
    partition_no  int      NOT NULL,
    opened_on     char(10) NOT NULL COMMENT 'its earliest booking',
    closed_on     char(10),
    balance_minor bigint   NOT NULL,
    transactions  bigint   NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS account;
