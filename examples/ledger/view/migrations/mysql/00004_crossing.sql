-- Transfers across partitions. The steps are flags of their own since a view that
-- replays the log may see the second partition's before the first's.

-- +goose NO TRANSACTION
-- +goose Up
CREATE TABLE IF NOT EXISTS crossing (
    origin_partition int          NOT NULL,
    origin_id        bigint       NOT NULL,
    from_account     bigint       NOT NULL,
    to_account       bigint       NOT NULL,
    amount_minor     bigint       NOT NULL,
    booked_on        char(10)     NOT NULL,
    type             varchar(255) NOT NULL,
    sent             tinyint      NOT NULL,
    credited         tinyint      NOT NULL,
    refused          tinyint      NOT NULL,
    returned         tinyint      NOT NULL,
    reason           varchar(255) NOT NULL,
    PRIMARY KEY (origin_partition, origin_id),
    KEY crossing_pending (origin_partition, sent, credited, returned, origin_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- +goose Down
DROP TABLE IF EXISTS crossing;
