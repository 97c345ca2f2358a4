package main

import (
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/migrations"
)

// The migrate commands on real databases.
func TestMigrateScripts(t *testing.T) {
	newest := strconv.FormatInt(knownVersion(t), 10)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/migrate",
		Setup: func(env *testscript.Env) error {
			env.Setenv("KNOWN", newest)
			env.Setenv("NOWHERE", servers.PostgreSQL(t).URL("nowhere"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"database": newDatabase(t),
			"exits":    exits,
			"freeport": freePort,
			"json":     checkJSON,
			"pooler":   startPooler(t),
			"sql":      execSQL,
			"sqlfile":  execSQLFile,
		},
	})
}

func knownVersion(t *testing.T) int64 {
	t.Helper()
	db, dialect, err := openDB("sqlite://" + t.TempDir() + "/view.db")
	require.NoError(t, err)
	m, err := migrations.New(db, dialect, migrations.Options{})
	require.NoError(t, err)
	require.NoError(t, db.Close())
	return m.Known()
}

// newDatabase makes an empty database and sets a variable to its address:
// database NAME postgres|mysql
func newDatabase(t *testing.T) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: database NAME postgres|mysql")
		}
		if args[1] == "mysql" {
			ts.Setenv(args[0], servers.MariaDB(t).NewDatabase(t))
			return
		}
		ts.Setenv(args[0], servers.PostgreSQL(t).NewDatabase(t))
	}
}

// execSQL executes one statement: sql ADDRESS STATEMENT
func execSQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sql ADDRESS STATEMENT")
	}
	db, _, err := openDB(args[0])
	ts.Check(err)
	_, err = db.Exec(args[1])
	ts.Check(err)
	ts.Check(db.Close())
}

// execSQLFile executes all statements of a file, each of which ends with a line, as
// a database's own command line would: sqlfile ADDRESS FILE
func execSQLFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sqlfile ADDRESS FILE")
	}
	text, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	for statement := range strings.SplitSeq(strings.TrimSpace(string(text)), ";\n") {
		execSQL(ts, false, []string{args[0], statement})
	}
}

// startPooler sets a variable to the address of the same database by way of a
// pooler in transaction mode: pooler NAME ADDRESS
func startPooler(t *testing.T) func(ts *testscript.TestScript, neg bool, args []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: pooler NAME ADDRESS")
		}
		u, err := url.Parse(args[1])
		ts.Check(err)
		pooler := dbtest.PgBouncer(t, servers.PostgreSQL(t), "transaction")
		ts.Setenv(args[0], pooler.URL(strings.TrimPrefix(u.Path, "/")))
	}
}
