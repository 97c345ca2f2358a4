package applybench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/waltz"
)

var servers dbtest.Servers

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

// newLog is a log in memory.
func newLog(t *testing.T, partitions int) *waltz.Client {
	scheme := embedded.NewScheme(embedded.Options{FS: vfs.NewMem()})
	c, err := waltz.Dial(t.Context(), fmt.Sprintf("file:///log?partitions=%d", partitions), waltz.WithSchemes(scheme))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// databases are addresses of empty ones, and what lists the places in them.
func databases(t *testing.T) map[string]func(t *testing.T) []string {
	file := filepath.Join(t.TempDir(), "view.db")
	asks := func(address, query string) func(t *testing.T) []string {
		return func(t *testing.T) (names []string) {
			k, err := kindOf(address)
			require.NoError(t, err)
			require.NoError(t, onDB(k, address, func(db *sql.DB) error {
				rows, err := db.QueryContext(t.Context(), query)
				require.NoError(t, err)
				defer rows.Close()
				for rows.Next() {
					var name string
					require.NoError(t, rows.Scan(&name))
					names = append(names, name)
				}
				return rows.Err()
			}))
			return names
		}
	}
	postgres, mariadb := servers.PostgreSQL(t).NewDatabase(t), servers.MariaDB(t).NewDatabase(t)
	const schemas = `SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE 'waltz%bench%'`
	return map[string]func(t *testing.T) []string{
		"sqlite://" + file: func(t *testing.T) []string {
			names, err := filepath.Glob(filepath.Dir(file) + "/*")
			require.NoError(t, err)
			return names
		},
		postgres: asks(postgres, schemas),
		mariadb:  asks(mariadb, schemas),
	}
}

func small(c *waltz.Client, address string) Options {
	return Options{Client: c, Database: address, Partitions: 2, Transactions: 200, Rounds: 2, Idle: 3}
}

func TestMeasuresEveryCaseAndLeavesNothing(t *testing.T) {
	c := newLog(t, 2)
	for address, left := range databases(t) {
		f, err := Run(t.Context(), small(c, address))
		require.NoError(t, err)
		require.Equal(t, strings.Split(address, ":")[0], f.Database)
		require.Len(t, f.Cases, 4)
		for i, want := range []Case{
			{Way: PerRecord, Partitions: 1, Transactions: 40},
			{Way: PerRecord, Partitions: 2, Transactions: 40},
			{Way: PerBatch, Partitions: 1, Transactions: 200},
			{Way: PerBatch, Partitions: 2, Transactions: 200},
		} {
			got := f.Cases[i]
			require.Positive(t, got.View.PerSec)
			require.Positive(t, got.Hand.PerSec)
			require.InEpsilon(t, got.View.PerSec/got.Hand.PerSec, got.Ratio(), 1e-9)
			got.View, got.Hand = Speed{}, Speed{}
			require.Equal(t, want, got)
		}
		require.Positive(t, f.Idle.CommitP50)
		require.GreaterOrEqual(t, f.Idle.AppliedP99, f.Idle.AppliedP50)
		require.Empty(t, left(t), address)
	}
}

func TestInterruptedLeavesNothing(t *testing.T) {
	c := newLog(t, 2)
	for address, left := range databases(t) {
		ctx, cancel := context.WithCancel(t.Context())
		o := small(c, address)
		o.Progress = func(what string) {
			if strings.Contains(what, "round 2") {
				cancel()
			}
		}
		_, err := Run(ctx, o)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, left(t), address)
	}
}

// A run that ends in the middle of its work leaves nothing either.
func TestFailedWorkLeavesNothing(t *testing.T) {
	for address, left := range databases(t) {
		k, err := kindOf(address)
		require.NoError(t, err)
		b := &bench{Options: Options{Database: address}, kind: k}
		boom := errors.New("boom")
		_, err = b.inPlace(t.Context(), viewKeys, sums{}, func(ctx context.Context, p *place) (run, error) {
			require.NotEmpty(t, left(t), address)
			return run{}, boom
		})
		require.ErrorIs(t, err, boom)
		require.Empty(t, left(t), address)
	}
}

// Work that came out wrong is no figure: here a transfer was applied twice, or a key lost.
func TestWrongTablesAreTold(t *testing.T) {
	c := newLog(t, 1)
	base, err := fill(t.Context(), c, []int{20})
	require.NoError(t, err)
	s := stretch{c, base, 20}
	want, err := s.sums(t.Context())
	require.NoError(t, err)
	for address := range databases(t) {
		for statement, wrong := range map[string]bool{
			"UPDATE entry SET type = type":                                      false,
			"UPDATE account SET balance_minor = 1, transactions = transactions": true,
			"DELETE FROM hand_keys":                                             true,
			"DELETE FROM account":                                               true,
		} {
			k, err := kindOf(address)
			require.NoError(t, err)
			b := &bench{Options: Options{Database: address}, kind: k}
			_, err = b.inPlace(t.Context(), handKeys, want, func(ctx context.Context, p *place) (run, error) {
				r, err := b.runHand(ctx, p, s, PerBatch)
				return r, errors.Join(err, p.on(func(db *sql.DB) error { return executeAll(ctx, db, []string{statement}) }))
			})
			if !wrong {
				require.NoError(t, err, statement)
				continue
			}
			require.ErrorContains(t, err, "tables come to", statement)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	good := Options{Partitions: 4, Transactions: 20, Rounds: 1}
	require.NoError(t, good.Check())
	for _, change := range []func(*Options){
		func(o *Options) { o.Partitions = 0 },
		func(o *Options) { o.Partitions = PartitionsMax + 1 },
		func(o *Options) { o.Transactions = 19 },
		func(o *Options) { o.Rounds = 0 },
		func(o *Options) { o.Idle = -1 },
	} {
		o := good
		change(&o)
		require.Error(t, o.Check())
	}
	_, err := kindOf("oracle://x")
	require.Error(t, err)
}

func TestBestRunCounts(t *testing.T) {
	var s Speed
	s.better(100, run{time.Second, 10 * time.Millisecond})
	s.better(100, run{2 * time.Second, 5 * time.Millisecond})
	require.Equal(t, Speed{PerSec: 100, CPU: 50}, s)
}

// One slow commit says nothing about applying.
func TestIdleIsOfPairs(t *testing.T) {
	const ms = time.Millisecond
	require.Equal(t, &Idle{
		AppliedP50: 4 * ms, AppliedP99: 9 * ms, CommitP50: 1 * ms, CommitP99: 30 * ms, BeyondP50: 3 * ms, BeyondP99: 8 * ms,
	}, newIdle([]time.Duration{4 * ms, 9 * ms, 4 * ms, 4 * ms}, []time.Duration{1 * ms, 1 * ms, 30 * ms, 1 * ms}))
}

func TestQuantile(t *testing.T) {
	all := make([]time.Duration, 200)
	for i := range all {
		all[len(all)-1-i] = time.Duration(i)
	}
	require.Equal(t, time.Duration(100), quantile(all, 50))
	require.Equal(t, time.Duration(198), quantile(all, 99))
	require.Equal(t, time.Duration(7), quantile([]time.Duration{7}, 99))
}
