-- An account lives in one partition, so its postings are ordered by the ID.

-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS posting (
    account_id   bigint   NOT NULL,
    id           bigint   NOT NULL,
    booked_on    char(10) NOT NULL,
    amount_minor bigint   NOT NULL COMMENT 'credit above 0, debit below',
    PRIMARY KEY (account_id, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS posting;
