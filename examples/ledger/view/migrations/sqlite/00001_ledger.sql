-- The ledger's tables. All are derived from the log.

-- +goose Up

CREATE TABLE account (
    account_id    INTEGER NOT NULL PRIMARY KEY, -- below 0: the house's own
    partition_no  INTEGER NOT NULL,
    opened_on     TEXT    NOT NULL, -- its earliest booking
    closed_on     TEXT,
    balance_minor INTEGER NOT NULL,
    transactions  INTEGER NOT NULL
) STRICT;

-- One row for each transaction of the log.
CREATE TABLE entry (
    partition_no    INTEGER NOT NULL,
    id              INTEGER NOT NULL,
    kind            TEXT    NOT NULL,
    type            TEXT    NOT NULL,
    booked_on       TEXT    NOT NULL,
    amount_minor    INTEGER NOT NULL,
    from_account    INTEGER NOT NULL, -- 0: none
    to_account      INTEGER NOT NULL,
    allow_overdraft INTEGER NOT NULL,
    PRIMARY KEY (partition_no, id)
) STRICT, WITHOUT ROWID;

-- An account lives in one partition, so its postings are ordered by the ID.
CREATE TABLE posting (
    account_id   INTEGER NOT NULL,
    id           INTEGER NOT NULL,
    booked_on    TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL, -- credit above 0, debit below
    PRIMARY KEY (account_id, id)
) STRICT, WITHOUT ROWID;

-- Transfers across partitions. The steps are flags of their own since a view that
-- replays the log may see the second partition's before the first's.
CREATE TABLE crossing (
    origin_partition INTEGER NOT NULL,
    origin_id        INTEGER NOT NULL,
    from_account     INTEGER NOT NULL,
    to_account       INTEGER NOT NULL,
    amount_minor     INTEGER NOT NULL,
    booked_on        TEXT    NOT NULL,
    type             TEXT    NOT NULL,
    sent             INTEGER NOT NULL,
    credited         INTEGER NOT NULL,
    refused          INTEGER NOT NULL,
    returned         INTEGER NOT NULL,
    reason           TEXT    NOT NULL,
    PRIMARY KEY (origin_partition, origin_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX crossing_pending ON crossing (origin_partition, origin_id)
    WHERE sent = 1 AND credited = 0 AND returned = 0;

-- +goose Down

DROP TABLE crossing;
DROP TABLE posting;
DROP TABLE entry;
DROP TABLE account;
