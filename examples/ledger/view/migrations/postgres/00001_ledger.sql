-- The ledger's tables. All are derived from the log. Dates are text as ISO writes
-- them, which sorts as they do; flags are numbers: both are the same in all databases.

-- +goose Up

CREATE TABLE account (
    account_id    bigint  NOT NULL PRIMARY KEY, -- below 0: the house's own
    partition_no  integer NOT NULL,
    opened_on     text    COLLATE "C" NOT NULL, -- its earliest booking
    closed_on     text    COLLATE "C",
    balance_minor bigint  NOT NULL,
    transactions  bigint  NOT NULL
) WITH (fillfactor = 70); -- room for the new versions of rows that change

-- One row for each transaction of the log.
CREATE TABLE entry (
    partition_no    integer  NOT NULL,
    id              bigint   NOT NULL,
    kind            text     NOT NULL,
    type            text     NOT NULL,
    booked_on       text     COLLATE "C" NOT NULL,
    amount_minor    bigint   NOT NULL,
    from_account    bigint   NOT NULL, -- 0: none
    to_account      bigint   NOT NULL,
    allow_overdraft smallint NOT NULL,
    PRIMARY KEY (partition_no, id)
);

-- An account lives in one partition, so its postings are ordered by the ID.
CREATE TABLE posting (
    account_id   bigint NOT NULL,
    id           bigint NOT NULL,
    booked_on    text   COLLATE "C" NOT NULL,
    amount_minor bigint NOT NULL, -- credit above 0, debit below
    PRIMARY KEY (account_id, id)
);

-- Transfers across partitions. The steps are flags of their own since a view that
-- replays the log may see the second partition's before the first's.
CREATE TABLE crossing (
    origin_partition integer  NOT NULL,
    origin_id        bigint   NOT NULL,
    from_account     bigint   NOT NULL,
    to_account       bigint   NOT NULL,
    amount_minor     bigint   NOT NULL,
    booked_on        text     COLLATE "C" NOT NULL,
    type             text     NOT NULL,
    sent             smallint NOT NULL,
    credited         smallint NOT NULL,
    refused          smallint NOT NULL,
    returned         smallint NOT NULL,
    reason           text     NOT NULL,
    PRIMARY KEY (origin_partition, origin_id)
);

CREATE INDEX crossing_pending ON crossing (origin_partition, origin_id)
    WHERE sent = 1 AND credited = 0 AND returned = 0;

-- +goose Down

DROP TABLE crossing;
DROP TABLE posting;
DROP TABLE entry;
DROP TABLE account;
