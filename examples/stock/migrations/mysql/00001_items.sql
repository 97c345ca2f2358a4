-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS items (
    item     bigint NOT NULL PRIMARY KEY,
    quantity bigint NOT NULL CHECK (quantity >= 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- +goose Down
DROP TABLE IF EXISTS items;
