-- +goose Up
CREATE TABLE items (
    item     INTEGER PRIMARY KEY,
    quantity INTEGER NOT NULL CHECK (quantity >= 0)
) STRICT;

CREATE TABLE orders (
    partition_no INTEGER NOT NULL,
    id           INTEGER NOT NULL, -- the transaction's
    item         INTEGER NOT NULL,
    quantity     INTEGER NOT NULL,
    customer     TEXT    NOT NULL,
    PRIMARY KEY (partition_no, id)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE orders;
DROP TABLE items;
