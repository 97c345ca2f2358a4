-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS orders (
    partition_no int          NOT NULL,
    id           bigint       NOT NULL COMMENT 'the transaction''s',
    item         bigint       NOT NULL,
    quantity     bigint       NOT NULL,
    customer     varchar(100) NOT NULL,
    PRIMARY KEY (partition_no, id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- +goose Down
DROP TABLE IF EXISTS orders;
