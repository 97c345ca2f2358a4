package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/dbtest"
)

// Each connection is as we rely on, whatever the server's own settings are.
func TestConnectionsAreSettled(t *testing.T) {
	server := dbtest.MariaDB(t)
	db, err := OpenDB(server.NewDatabase(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	for _, query := range []string{
		"SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'", "SET GLOBAL time_zone = '+05:00'", "SET GLOBAL tx_isolation = 'SERIALIZABLE'",
		"SET GLOBAL character_set_server = latin1", "SET GLOBAL autocommit = 0", "SET GLOBAL completion_type = 'CHAIN'", "SET GLOBAL innodb_flush_log_at_trx_commit = 2",
	} {
		_, err := db.Exec(query)
		require.NoError(t, err, query)
	}
	addr := server.NewDatabase(t)
	check := migrated(t, addr)
	hitTables(t, check)
	var out logged
	log := hitLog(2, 50)
	v := run(t, log, addr, applier.Options{Logger: slog.New(slog.NewTextHandler(&out, nil)), BatchTransactionsMax: 3})
	for p := range 2 {
		v.wait(0, 49)
		v.wait(1, 49)
		require.Equal(t, int64(49), exactHits(t, check, 2)[p])
	}
	require.Contains(t, out.String(), "innodb_flush_log_at_trx_commit=2")
	d := v.Database().(*database)
	for pool, level := range map[string]string{"writes": "READ-COMMITTED", "reads": "REPEATABLE-READ"} {
		db := d.writes
		if pool == "reads" {
			db = d.reads
		}
		var isolation, mode, zone string
		var idle int
		require.NoError(t, db.QueryRow("SELECT @@tx_isolation, @@sql_mode, @@time_zone, @@idle_write_transaction_timeout").Scan(&isolation, &mode, &zone, &idle))
		require.Equal(t, []string{level, strictMode, "+00:00"}, []string{isolation, mode, zone})
		require.Equal(t, pool == "writes", idle == 30)
	}
}

// A server whose packets are too small is refused, with what to change.
func TestSettingsThatCantBeHad(t *testing.T) {
	server := dbtest.MariaDB(t)
	addr := server.NewDatabase(t)
	db, err := OpenDB(addr)
	require.NoError(t, err)
	_, err = db.Exec("SET GLOBAL max_allowed_packet = 16384")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = OpenLog(t.Context(), hitLog(1, 1), addr, applier.Options{Name: "v"})
	e, is := errors.AsType[*SettingError](err)
	require.True(t, is, "%v", err)
	require.Equal(t, "max_allowed_packet", e.Setting)
	require.Equal(t, "16384", e.Got)
}

// What a proxy keeps to itself is found out.
func TestSettingsAreAsked(t *testing.T) {
	good := []string{"1", "+00:00", "READ-COMMITTED", "utf8mb4", "utf8mb4", strictMode, "16777216"}
	settle := func(answers []string) error {
		return (&connector{role: writes, session: session{mode: strictMode, lockWait: 1}}).settle(t.Context(), &liar{answers: answers})
	}
	require.NoError(t, settle(good))
	for i, setting := range []string{"autocommit", "time_zone", "tx_isolation", "character_set_client", "character_set_connection", "sql_mode", "max_allowed_packet"} {
		wrong := append([]string{}, good...)
		wrong[i] = "0"
		e, is := errors.AsType[*SettingError](settle(wrong))
		require.True(t, is, setting)
		require.Equal(t, setting, e.Setting)
		require.NotEmpty(t, e.Fix)
	}
}

// liar is a connection that takes every SET and answers what it likes.
type liar struct {
	driver.Conn
	answers []string
}

func (*liar) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.ResultNoRows, nil
}

func (l *liar) QueryContext(_ context.Context, query string, _ []driver.NamedValue) (driver.Rows, error) {
	if strings.Contains(query, "VERSION") {
		return &answer{values: []string{"10.11.1-MariaDB"}}, nil
	}
	return &answer{values: l.answers}, nil
}

type answer struct {
	values []string
	read   bool
}

func (a *answer) Columns() []string { return a.values }
func (*answer) Close() error        { return nil }
func (a *answer) Next(dest []driver.Value) error {
	if a.read {
		return io.EOF
	}
	a.read = true
	for i, v := range a.values {
		dest[i] = []byte(v)
	}
	return nil
}

// Tables of ours that somebody made otherwise are refused with the statement that
// mends them; others are reported.
func TestTablesAreChecked(t *testing.T) {
	addr := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, addr)
	for _, query := range []string{
		"CREATE TABLE theirs (id int) ENGINE=MyISAM", "ALTER TABLE waltz_keys ENGINE=MyISAM",
		"ALTER TABLE waltz_high_water_marks CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
	} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
	_, err := OpenLog(t.Context(), hitLog(1, 1), addr, applier.Options{Name: "v"})
	for _, want := range []string{
		"engine of table waltz_keys is MyISAM, want InnoDB: ALTER TABLE waltz_keys ENGINE=InnoDB",
		"collation of column waltz_high_water_marks.name is utf8mb4_general_ci, want utf8mb4_bin: ALTER TABLE waltz_high_water_marks CONVERT TO",
		"waltz_high_water_marks.owner", "waltz_high_water_marks.log_id",
	} {
		require.ErrorContains(t, err, want)
	}
	f, is := mariaDB.fault(err)
	require.True(t, is)
	require.Equal(t, applier.ClassConfiguration, f.Class)
	for _, query := range []string{"ALTER TABLE waltz_keys ENGINE=InnoDB", "ALTER TABLE waltz_high_water_marks CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
	var out logged
	d, err := open(t.Context(), addr, applier.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	require.NoError(t, err)
	require.NoError(t, d.Close())
	require.Contains(t, out.String(), "table is not transactional")
	require.Contains(t, out.String(), "table=theirs engine=MyISAM")
}

func TestOpenFails(t *testing.T) {
	addr := servers.MariaDB(t).NewDatabase(t)
	u, err := url.Parse(addr)
	require.NoError(t, err)
	for want, change := range map[string]func(*url.URL){
		"1045":             func(u *url.URL) { u.User = url.UserPassword("nobody", "wrong-password") },
		"1049":             func(u *url.URL) { u.Path = "/no_such_database" },
		"connection refus": func(u *url.URL) { u.Host = "127.0.0.1:1" },
	} {
		wrong := *u
		change(&wrong)
		for _, mode := range []applier.MigrateMode{applier.MigrateAuto, applier.MigrateCheck} {
			_, err := OpenLog(t.Context(), hitLog(1, 1), wrong.String(), applier.Options{Name: "v", Migrate: mode})
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "wrong-password")
		}
	}
	_, err = OpenLog(t.Context(), hitLog(1, 1), addr, applier.Options{Name: "v", Migrate: applier.MigrateCheck})
	require.ErrorContains(t, err, "pending")
	_, err = OpenLetters(t.Context(), "mysql://h")
	require.Error(t, err)
}

// An applier needs no right for DDL.
func TestUserWithoutDDL(t *testing.T) {
	addr := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, addr)
	hitTables(t, db)
	v := run(t, hitLog(1, 50), restricted(t, db, addr), applier.Options{Migrate: applier.MigrateCheck})
	v.wait(0, 49)
	exactHits(t, db, 1)
}

// restricted makes a user that may only read and write rows.
func restricted(t *testing.T, db *sql.DB, addr string) string {
	t.Helper()
	u, err := url.Parse(addr)
	require.NoError(t, err)
	name := "applier_" + u.Path[1:]
	for _, query := range []string{"CREATE USER " + name + "@'%' IDENTIFIED BY 'of-the-applier'", "GRANT SELECT, INSERT, UPDATE, DELETE ON " + u.Path[1:] + ".* TO " + name + "@'%'"} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		_, err := db.Exec("DROP USER " + name + "@'%'")
		require.NoError(t, err)
	})
	u.User = url.UserPassword(name, "of-the-applier")
	return u.String()
}

// Instances that open at once seed each row once.
func TestOpenedAtOnce(t *testing.T) {
	addr := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, addr)
	const instances, partitions = 8, 16
	errs := make(chan error, instances)
	for range instances {
		go func() {
			d, err := open(context.Background(), addr, applier.Options{})
			if err == nil {
				var rows []applier.Row
				rows, err = d.Load(context.Background(), applier.Identity{Name: "v", Version: 1, LogID: "log"}, partitions)
				if err == nil && len(rows) != partitions {
					err = errors.New("rows are missing")
				}
				err = errors.Join(err, d.Close())
			}
			errs <- err
		}()
	}
	for range instances {
		select {
		case err := <-errs:
			require.NoError(t, err)
		case <-time.After(patience):
			require.FailNow(t, "an instance does not come up")
		}
	}
	var n int
	require.NoError(t, db.QueryRow("SELECT count(*) FROM waltz_high_water_marks").Scan(&n))
	require.Equal(t, partitions, n)
}
