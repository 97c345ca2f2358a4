package migrations_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

// view is what the appliers of all databases have in common.
type view interface {
	Run(ctx context.Context) error
	WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error
	Close() error
}

func openView(t *testing.T, db *database, log applier.Log, mode applier.MigrateMode) (view, error) {
	t.Helper()
	o := applier.Options{Name: "balances", Migrate: mode}
	switch db.dialect {
	case migrations.Postgres:
		return postgres.OpenLog(t.Context(), log, db.url, o)
	case migrations.MySQL:
		return mysql.OpenLog(t.Context(), log, db.url, o)
	default:
		file, _, _ := strings.Cut(strings.TrimPrefix(db.url, "file:"), "?")
		return sqlite.OpenLog(t.Context(), log, file, o)
	}
}

// An applier that is to check is not ready before the schema is, and says what
// is pending. When it is, the applier needs no right to DDL.
func TestAppliersCheck(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		log := appliertest.NewLog("log", 1)
		_, err := openView(t, db, log, applier.MigrateCheck)
		var schema *migrations.SchemaError
		require.ErrorAs(t, err, &schema)
		require.ErrorContains(t, err, "pending: 00001_high_water_marks.sql, 00002_keys.sql, 00003_dead_letters.sql")
		require.Empty(t, db.tables(t))

		db.up(t)
		for _, mode := range []applier.MigrateMode{applier.MigrateCheck, applier.MigrateAuto} {
			v, err := openView(t, db.withoutDDL(t), log, mode)
			require.NoError(t, err)
			applyOne(t, v, log)
			require.NoError(t, v.Close())
		}

		db.exec(t, "INSERT INTO waltz_schema_version (version_id, is_applied) VALUES (99, true)")
		for _, mode := range []applier.MigrateMode{applier.MigrateCheck, applier.MigrateAuto} {
			_, err := openView(t, db, log, mode)
			require.ErrorContains(t, err, "version 99, newer than")
		}
	})
}

func applyOne(t *testing.T, v view, log *appliertest.Log) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	id := log.Append(0, waltz.Transaction{Header: 1, Key: "key", Data: []byte("data")})
	require.NoError(t, v.WaitFor(t.Context(), 0, id))
	cancel()
	<-ended
}
