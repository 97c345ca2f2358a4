package migrations_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/migrations"
)

// F30: several processes from empty at once. Each migration is applied by one.
func TestProcessesAtOnce(t *testing.T) {
	for _, d := range dialects {
		t.Run(string(d), func(t *testing.T) {
			for range 4 {
				db := newDatabase(t, d)
				var instances []*instance
				for range 3 {
					instances = append(instances, startInstance(t, db.url, 0))
				}
				for _, i := range instances {
					i.start(t)
				}
				sum := 0
				for _, i := range instances {
					n, _ := i.end(t)
					sum += n
				}
				m := db.migrator(t)
				require.NoError(t, m.Check(t.Context()))
				require.EqualValues(t, m.Known(), sum, "each was applied by one")
				require.Equal(t, all(m), db.recorded(t), "and once")
			}
		})
	}
}

// F30: an instance is killed before each word that it says to the database, and
// another one comes. On MariaDB this leaves DDL without its version row, and a version
// table without goose's mark, so there it is killed everywhere; on the others in every third
// place, unless there is time.
func TestKilledAnywhere(t *testing.T) {
	for _, d := range dialects {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			db := newDatabase(t, d)
			unrecorded := 0
			step := 3
			if d == migrations.MySQL || os.Getenv("WALTZ_SOAK") != "" {
				step = 1
			}
			for at := 1; ; at += step {
				if !killedAt(t, db, at) {
					require.Greater(t, at, 15, "it was killed in many places")
					break
				}
				unrecorded += unrecordedTables(t, db)
				i := startInstance(t, db.url, 0)
				i.start(t)
				_, killed := i.end(t)
				require.False(t, killed)
				m := db.migrator(t)
				require.NoError(t, m.Check(t.Context()), "killed at %d", at)
				require.Equal(t, all(m), db.recorded(t), "killed at %d", at)
				db.empty(t)
			}
			if d == migrations.MySQL {
				require.GreaterOrEqual(t, unrecorded, 3, "DDL commits by itself: that is what this test is for")
			} else {
				require.Zero(t, unrecorded, "a migration and its version are one transaction")
			}
		})
	}
}

// killedAt runs an instance that is killed, unless it has ended before.
func killedAt(t *testing.T, db *database, at int) bool {
	t.Helper()
	i := startInstance(t, db.url, at)
	i.start(t)
	applied, killed := i.end(t)
	if !killed {
		require.EqualValues(t, db.migrator(t).Known(), applied)
	}
	return killed
}

// unrecordedTables counts the tables whose migration is not recorded.
func unrecordedTables(t *testing.T, db *database) int {
	t.Helper()
	version, err := db.migrator(t).Version(t.Context())
	require.NoError(t, err)
	made := 0
	for _, name := range db.tables(t) {
		if name != migrations.LockTable && name != migrations.VersionTable {
			made++
		}
	}
	return made - int(version)
}
