-- One row for each transaction of the log.

-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS entry (
    partition_no    int          NOT NULL,
    id              bigint       NOT NULL,
    kind            varchar(32)  NOT NULL,
    type            varchar(255) NOT NULL,
    booked_on       char(10)     NOT NULL,
    amount_minor    bigint       NOT NULL,
    from_account    bigint       NOT NULL COMMENT '0: none',
    to_account      bigint       NOT NULL,
    allow_overdraft tinyint      NOT NULL,
    PRIMARY KEY (partition_no, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS entry;
