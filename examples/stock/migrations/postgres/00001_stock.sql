-- +goose Up
CREATE TABLE items (
    item     bigint PRIMARY KEY,
    quantity bigint NOT NULL CHECK (quantity >= 0)
);

CREATE TABLE orders (
    partition_no integer NOT NULL,
    id           bigint  NOT NULL, -- the transaction's
    item         bigint  NOT NULL,
    quantity     bigint  NOT NULL,
    customer     text    NOT NULL,
    PRIMARY KEY (partition_no, id)
);

-- +goose Down
DROP TABLE orders;
DROP TABLE items;
