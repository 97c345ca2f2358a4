package migrations_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/migrations"
)

func TestUpFromEmpty(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		m := db.migrator(t)
		pending, err := m.HasPending(t.Context())
		require.NoError(t, err)
		require.True(t, pending)
		var schema *migrations.SchemaError
		require.ErrorAs(t, m.Check(t.Context()), &schema)
		require.ErrorContains(t, schema, "version 0 of 3, pending: 00001_high_water_marks.sql, 00002_keys.sql, 00003_dead_letters.sql")
		require.Empty(t, db.tables(t), "looking changes nothing")

		done, err := m.Up(t.Context())
		require.NoError(t, err)
		require.Len(t, done, 3)
		require.Equal(t, []string{"waltz_dead_letters", "waltz_high_water_marks", "waltz_keys", "waltz_schema_lock", "waltz_schema_version"}, db.tables(t))
		require.Equal(t, all(m), db.recorded(t))
		require.NoError(t, m.Check(t.Context()))
		status, err := m.Status(t.Context())
		require.NoError(t, err)
		for _, s := range status {
			require.True(t, s.Applied, s.Name)
		}
		done, err = m.Up(t.Context())
		require.NoError(t, err)
		require.Empty(t, done)
	})
}

// From each version that there ever was.
func TestUpFromEachVersion(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		m := db.migrator(t)
		for version := range m.Known() {
			files := fstest.MapFS{}
			exported, err := m.SQL(1, 0, migrations.Goose)
			require.NoError(t, err)
			for _, f := range exported[:version] {
				files[f.Name] = &fstest.MapFile{Data: []byte(f.SQL)}
			}
			if version > 0 {
				_, err = appGoose(t, db, files).Up(t.Context())
				require.NoError(t, err)
			}
			require.Len(t, db.up(t), int(m.Known()-version))
			db.empty(t)
		}
	})
}

func TestPartialUpGoesOn(t *testing.T) {
	for _, d := range []migrations.Dialect{migrations.SQLite, migrations.Postgres} { // MySQL takes a table that is there for the right one
		t.Run(string(d), func(t *testing.T) {
			db := newDatabase(t, d)
			db.exec(t, "CREATE TABLE waltz_keys (x int)") // in the way of the second one
			done, err := db.migrator(t).Up(t.Context())
			require.ErrorContains(t, err, "00002_keys.sql failed, the ones before it are applied; it will be tried again")
			require.Len(t, done, 1)
			db.exec(t, "DROP TABLE waltz_keys")
			require.Len(t, db.up(t), 2)
		})
	}
}

// F30: the application's own goose with the same version numbers in one database,
// whoever comes first, there and back.
func TestBesideTheApplicationsOwn(t *testing.T) {
	files := fstest.MapFS{
		"00001_accounts.sql": {Data: []byte("-- +goose Up\nCREATE TABLE accounts (id int);\n-- +goose Down\nDROP TABLE accounts;\n")},
		"00002_entries.sql":  {Data: []byte("-- +goose Up\nCREATE TABLE entries (id int);\n-- +goose Down\nDROP TABLE entries;\n")},
	}
	for name, first := range map[string]bool{"framework first": true, "application first": false} {
		t.Run(name, func(t *testing.T) {
			onAll(t, func(t *testing.T, db *database) {
				if first {
					db.up(t)
				}
				app := appGoose(t, db, files)
				results, err := app.Up(t.Context())
				require.NoError(t, err)
				require.Len(t, results, 2)
				if !first {
					require.Len(t, db.up(t), 3)
				}
				require.NoError(t, db.migrator(t).Check(t.Context()))
				_, err = app.DownTo(t.Context(), 0)
				require.NoError(t, err)
				require.NoError(t, db.migrator(t).Check(t.Context()))
				require.Equal(t, []string{"goose_db_version", "waltz_dead_letters", "waltz_high_water_marks", "waltz_keys", "waltz_schema_lock", "waltz_schema_version"}, db.tables(t))
			})
		})
	}
}

var gooseDialects = map[migrations.Dialect]goose.Dialect{
	migrations.SQLite: goose.DialectSQLite3, migrations.Postgres: goose.DialectPostgres, migrations.MySQL: goose.DialectMySQL,
}

// appGoose is goose as an application uses it, with its default table.
func appGoose(t *testing.T, db *database, files fs.FS) *goose.Provider {
	t.Helper()
	p, err := goose.NewProvider(gooseDialects[db.dialect], db.DB, files)
	require.NoError(t, err)
	return p
}

func TestNewerSchemaIsRefused(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		db.up(t)
		db.exec(t, "INSERT INTO waltz_schema_version (version_id, is_applied) VALUES (7, true)")
		m := db.migrator(t)
		_, err := m.Up(t.Context())
		for _, err := range []error{m.Check(t.Context()), err} {
			require.ErrorContains(t, err, "version 7, newer than the 3 that this program knows")
		}
		version, err := m.Version(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 7, version)
	})
}
