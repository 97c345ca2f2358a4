package migrations_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/migrations"
)

// others is what the tests say about a lock that somebody else holds.
var others = map[migrations.Dialect][]string{
	migrations.SQLite: {
		"CREATE TABLE waltz_schema_lock (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL) STRICT",
		"INSERT INTO waltz_schema_lock VALUES (1, 'somebody', (unixepoch() + 60) * 1000000)",
	},
	migrations.Postgres: {
		"CREATE TABLE waltz_schema_lock (id integer PRIMARY KEY, owner text NOT NULL, until timestamptz NOT NULL)",
		"INSERT INTO waltz_schema_lock VALUES (1, 'somebody', now() + interval '1 minute')",
	},
	migrations.MySQL: {
		"CREATE TABLE waltz_schema_lock (id int PRIMARY KEY, owner varchar(255) NOT NULL, until datetime(6) NOT NULL)",
		"INSERT INTO waltz_schema_lock VALUES (1, 'somebody', utc_timestamp(6) + INTERVAL 1 MINUTE)",
	},
}

func TestLockIsWaitedFor(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		db.exec(t, others[db.dialect]...)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err := db.migrator(t).Up(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "held by somebody")
		require.Equal(t, []string{"waltz_schema_lock"}, db.tables(t))
		db.exec(t, "UPDATE waltz_schema_lock SET owner = ''")
		_, err = db.migrator(t).Up(ended())
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestLockOfADeadInstanceRunsOut(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		m := db.migrator(t)
		m.SetLease(50 * time.Millisecond)
		dead := errors.New("dead")
		err := migrations.While(migrations.NewLock(m), t.Context(), func(context.Context) error {
			db.exec(t, "UPDATE waltz_schema_lock SET owner = 'dead'")
			return dead
		})
		require.ErrorIs(t, err, dead)
		require.Equal(t, []string{"dead"}, db.column(t, "SELECT owner FROM waltz_schema_lock"), "only its owner frees it")
		require.Len(t, db.up(t), 3)
	})
}

// Whoever loses the lock stops: two at once would fall over each other.
func TestRunEndsWithItsLease(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		m := db.migrator(t)
		m.SetLease(50 * time.Millisecond)
		err := migrations.While(migrations.NewLock(m), t.Context(), func(ctx context.Context) error {
			db.exec(t, "UPDATE waltz_schema_lock SET owner = 'another'")
			<-ctx.Done()
			return ctx.Err()
		})
		require.ErrorIs(t, err, migrations.ErrLockLost)
	})
}

// A lease is extended for as long as its owner lives, and the clock is the database's
// whatever zone a session is in.
func TestOneAtATime(t *testing.T) {
	zones := map[migrations.Dialect][2]string{
		migrations.Postgres: {"timezone=America/Anchorage", "timezone=Asia/Tokyo"},
		migrations.MySQL:    {"time_zone=%27-09:00%27", "time_zone=%27%2B09:00%27"},
	}
	onAll(t, func(t *testing.T, db *database) {
		var inside, times int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for n := range 4 {
			m := db.with(t, zones[db.dialect][n%2]).migrator(t)
			m.SetLease(100 * time.Millisecond)
			wg.Go(func() {
				err := migrations.While(migrations.NewLock(m), t.Context(), func(ctx context.Context) error {
					mu.Lock()
					inside++
					alone := inside == 1
					mu.Unlock()
					<-time.After(250 * time.Millisecond) // longer than the lease
					mu.Lock()
					defer mu.Unlock()
					inside--
					times++
					if !alone {
						return errors.New("another one is inside")
					}
					return ctx.Err()
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		require.Equal(t, 4, times)
	})
}

// The pool may have one connection only, which the migration has.
func TestPoolOfOne(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		db.SetMaxOpenConns(1)
		require.Len(t, db.up(t), 3)
	})
}
