package migrations_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/migrations"
)

// The connection is cut around a statement whose outcome is then not known here: the
// next run finds out.
func TestConnectionCut(t *testing.T) {
	// One packet for a statement, so that it is one moment.
	parameters := map[migrations.Dialect]string{migrations.Postgres: "default_query_exec_mode=exec", migrations.MySQL: "interpolateParams=true"}
	for _, d := range withUsers {
		t.Run(string(d), func(t *testing.T) {
			db := newDatabase(t, d)
			for _, moment := range []dbtest.Moment{dbtest.BeforeSent, dbtest.InFlight, dbtest.Answered} {
				for _, text := range []string{"waltz_keys (", "INSERT INTO waltz_schema_version", "owner = "} {
					proxy := dbtest.NewProxy(t, db.url)
					proxied := openDatabase(t, proxy.URL()).with(t, parameters[d])
					happened := proxy.CutAt(moment, text)
					_, err := proxied.migrator(t).Up(t.Context())
					<-happened
					if text == "owner = " {
						require.NoError(t, err, "the lock is tried again")
					}
					db.up(t)
					// What is in flight may be done after the next run has looked: a row that is
					// there twice does no harm.
					require.Equal(t, all(db.migrator(t)), slices.Compact(db.recorded(t)))
					db.empty(t)
				}
			}
		})
	}
}
