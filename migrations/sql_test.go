package migrations_test

import (
	"database/sql"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/migrations"
)

// What SQL writes makes the schema that this module then takes for its own, and
// it may be made and taken away again.
func TestExportedSQL(t *testing.T) {
	for _, format := range []migrations.Format{migrations.Goose, migrations.Plain} {
		t.Run(string(format), func(t *testing.T) {
			onAll(t, func(t *testing.T, db *database) {
				m := db.migrator(t)
				files, err := m.SQL(1, 0, format)
				require.NoError(t, err)
				if format == migrations.Plain {
					runPlain(t, db, files)
				} else {
					runGoose(t, db, files)
				}
				require.NoError(t, m.Check(t.Context()))
				done, err := m.Up(t.Context())
				require.NoError(t, err)
				require.Empty(t, done)
			})
		})
	}
}

func runPlain(t *testing.T, db *database, files []migrations.File) {
	t.Helper()
	many := map[migrations.Dialect]string{
		migrations.SQLite: "", migrations.Postgres: "default_query_exec_mode=simple_protocol", migrations.MySQL: "multiStatements=true",
	}
	tool := db.with(t, many[db.dialect])
	for _, f := range files {
		require.NotContains(t, f.SQL, "goose ")
		require.NotContains(t, f.SQL, "DROP")
		tool.exec(t, f.SQL)
		if db.dialect == migrations.MySQL {
			tool.exec(t, f.SQL) // after a crash
		}
	}
}

func runGoose(t *testing.T, db *database, files []migrations.File) {
	t.Helper()
	dir := fstest.MapFS{}
	for _, f := range files {
		dir[f.Name] = &fstest.MapFile{Data: []byte(f.SQL)}
	}
	app := appGoose(t, db, dir)
	_, err := app.Up(t.Context())
	require.NoError(t, err)
	_, err = app.DownTo(t.Context(), 0)
	require.NoError(t, err)
	require.Error(t, db.migrator(t).Check(t.Context()))
	_, err = app.Up(t.Context())
	require.NoError(t, err)
}

func TestExportRange(t *testing.T) {
	m, err := migrations.New(new(sql.DB), migrations.SQLite, migrations.Options{})
	require.NoError(t, err)
	files, err := m.SQL(2, 3, migrations.Plain)
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, wrong := range [][2]int64{{0, 1}, {2, 1}, {1, 4}} {
		_, err := m.SQL(wrong[0], wrong[1], migrations.Plain)
		require.ErrorContains(t, err, "there are 1 to 3")
	}
	_, err = m.SQL(1, 0, "xml")
	require.ErrorContains(t, err, "goose or plain")
	_, err = migrations.New(nil, "oracle", migrations.Options{})
	require.ErrorContains(t, err, "sqlite, postgres or mysql")
}

func TestEveryFileFollowsTheRules(t *testing.T) {
	for _, d := range dialects {
		m, err := migrations.New(new(sql.DB), d, migrations.Options{})
		require.NoError(t, err)
		files, err := m.SQL(1, 0, migrations.Goose)
		require.NoError(t, err)
		require.Len(t, files, 3, d)
		for _, f := range files {
			up, down, found := strings.Cut(f.SQL, "-- +goose Down")
			require.True(t, found && strings.Contains(up, "-- +goose Up"), "%s %s", d, f.Name)
			require.Contains(t, f.SQL, "transaction", "%s %s says whether it may share one", d, f.Name)
			ddl := strings.Count(up, "CREATE TABLE") - strings.Count(up, "EXISTS "+migrations.VersionTable)
			require.Equal(t, 1, ddl, "%s %s: one DDL statement per file", d, f.Name)
			require.Equal(t, 1, strings.Count(down, "DROP TABLE"))
			if d == migrations.MySQL {
				require.Contains(t, up, "NO TRANSACTION")
				require.Contains(t, up, "IF NOT EXISTS", "it can be run again after a crash")
				require.Contains(t, up, "ENGINE=InnoDB", "whatever the server's default is")
			}
		}
	}
}

// mysqlOnly are words that MySQL 8.0 to 9 reserves and MariaDB, on which everything
// is tried, does not. From MySQL's manual, "Keywords and Reserved Words".
const mysqlOnly = `CUBE CUME_DIST DENSE_RANK EMPTY EXCEPT FIRST_VALUE FUNCTION GENERATED GET GROUPING GROUPS INTERSECT IO_AFTER_GTIDS
IO_BEFORE_GTIDS JSON_TABLE LAG LAST_VALUE LATERAL LEAD LIBRARY MANUAL MASTER_BIND NTH_VALUE NTILE OF OPTIMIZER_COSTS PARALLEL
PERCENT_RANK QUALIFY RANK RECURSIVE ROW ROW_NUMBER STORED SYSTEM TABLESAMPLE VIRTUAL _FILENAME`

func TestNamesAreFreeOnMySQL(t *testing.T) {
	reserved := strings.Fields(mysqlOnly)
	m, err := migrations.New(new(sql.DB), migrations.MySQL, migrations.Options{})
	require.NoError(t, err)
	files, err := m.SQL(1, 0, migrations.Plain)
	require.NoError(t, err)
	comments := regexp.MustCompile(`(?m)^--.*$|'[^']*'`)
	words := regexp.MustCompile(`\w+`)
	for _, f := range files {
		for _, word := range words.FindAllString(comments.ReplaceAllString(f.SQL, ""), -1) {
			require.NotContains(t, reserved, strings.ToUpper(word), f.Name)
		}
	}
}
