package migrations

import "time"

// lockSQL is what the lock says to one kind of database. Every statement is a
// compare-and-set of the table's only row; the clock is always the database's, in
// UTC. Leases are in microseconds.
type lockSQL struct {
	create string
	seed   string // the row, if it is not there
	take   string // owner, lease, owner: the answer to the last try may have been lost
	renew  string // lease, owner
	free   string // owner
	holder string
	// patience is how long errors are taken for a race with another instance: two that
	// create one table disturb each other for an instant, and a SQLite file is busy
	// while anybody writes.
	patience time.Duration
}

const holder = "SELECT owner FROM " + LockTable + " WHERE id = 1"

var locks = map[Dialect]lockSQL{
	SQLite: {
		create:   "CREATE TABLE IF NOT EXISTS " + LockTable + " (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL) STRICT",
		seed:     "INSERT OR IGNORE INTO " + LockTable + " VALUES (1, '', 0)",
		take:     "UPDATE " + LockTable + " SET owner = ?, until = " + sqliteNow + " + ? WHERE id = 1 AND (until < " + sqliteNow + " OR owner = ?)",
		renew:    "UPDATE " + LockTable + " SET until = " + sqliteNow + " + ? WHERE id = 1 AND owner = ?",
		free:     "UPDATE " + LockTable + " SET owner = '', until = 0 WHERE id = 1 AND owner = ?",
		holder:   holder,
		patience: time.Minute,
	},
	Postgres: {
		create:   "CREATE TABLE IF NOT EXISTS " + LockTable + " (id integer PRIMARY KEY, owner text NOT NULL, until timestamptz NOT NULL)",
		seed:     "INSERT INTO " + LockTable + " VALUES (1, '', 'epoch') ON CONFLICT DO NOTHING",
		take:     "UPDATE " + LockTable + " SET owner = $1, until = clock_timestamp() + $2::bigint * interval '1 microsecond' WHERE id = 1 AND (until < clock_timestamp() OR owner = $3)",
		renew:    "UPDATE " + LockTable + " SET until = clock_timestamp() + $1::bigint * interval '1 microsecond' WHERE id = 1 AND owner = $2",
		free:     "UPDATE " + LockTable + " SET owner = '', until = 'epoch' WHERE id = 1 AND owner = $1",
		holder:   holder,
		patience: time.Second,
	},
	MySQL: {
		create:   "CREATE TABLE IF NOT EXISTS " + LockTable + " (id int NOT NULL PRIMARY KEY, owner varchar(255) NOT NULL, until datetime(6) NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
		seed:     "INSERT IGNORE INTO " + LockTable + " VALUES (1, '', '1970-01-01')",
		take:     "UPDATE " + LockTable + " SET owner = ?, until = utc_timestamp(6) + INTERVAL ? MICROSECOND WHERE id = 1 AND (until < utc_timestamp(6) OR owner = ?)",
		renew:    "UPDATE " + LockTable + " SET until = utc_timestamp(6) + INTERVAL ? MICROSECOND WHERE id = 1 AND owner = ?",
		free:     "UPDATE " + LockTable + " SET owner = '', until = '1970-01-01' WHERE id = 1 AND owner = ?",
		holder:   holder,
		patience: time.Second,
	},
}

const sqliteNow = "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
