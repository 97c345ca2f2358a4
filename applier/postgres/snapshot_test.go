package postgres

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// More snapshots than connections, while the view moves on: each shows one state, and
// everything that was there when it was asked for, whoever had its connection before and
// whatever became of that. At the end nothing is open.
func TestSnapshotsTakeTurns(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		d, err := openDatabase(t.Context(), b.address+"&pool_max_conns=2", "readers")
		require.NoError(t, err)
		defer d.Close()
		var applied atomic.Int64
		applied.Store(-1)
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for n := range 40 {
					if err := oneSnapshot(t.Context(), d, b.row.Ref, &applied, 40*w+n); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		read := make(chan struct{})
		go func() { wg.Wait(); close(read) }()
		for i := 0; ; i++ {
			select {
			case <-read:
				d.readers.ending.Wait()
				require.Equal(t, int64(0), b.count("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"))
				require.Empty(t, d.readers.places)
				return
			default:
			}
			require.NoError(t, b.step(waltz.ID(i-1), insert(i)))
			applied.Store(int64(i))
		}
	})
}

// oneSnapshot reads in one of several ways, some of which are wrong.
func oneSnapshot(ctx context.Context, d *database, r applier.Ref, applied *atomic.Int64, way int) error {
	before := applied.Load()
	wrong := false
	err := d.Snapshot(ctx, r, func(ctx context.Context, s *Snapshot, mark waltz.ID) error {
		if int64(mark) < before {
			return fmt.Errorf("transaction %d had been applied, and the snapshot's mark is %d", before, mark)
		}
		var n int64
		if err := s.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil || n != int64(mark)+1 {
			return fmt.Errorf("at mark %d there are %d rows: %w", mark, n, err)
		}
		switch way % 7 {
		case 3: // rows are left open
			_, err := s.Query(ctx, "SELECT id FROM t") //nolint:sqlclosecheck // that is the case
			return err
		case 5:
			wrong = true
			return s.QueryRow(ctx, "SELECT 1 / (id - id) FROM t UNION SELECT 1 / 0").Scan(&n)
		}
		return nil
	})
	if wrong != (err != nil) {
		return fmt.Errorf("snapshot %d: want an error: %v, got: %w", way, wrong, err)
	}
	return nil
}

func TestWaitingForASnapshotEnds(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	d, err := openDatabase(t.Context(), b.address+"&pool_max_conns=1", "readers")
	require.NoError(t, err)
	defer d.Close()
	require.NoError(t, d.Snapshot(t.Context(), b.row.Ref, func(context.Context, *Snapshot, waltz.ID) error {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, d.Snapshot(ctx, b.row.Ref, nil), context.Canceled)
		return nil
	}))
	require.NoError(t, d.Snapshot(t.Context(), b.row.Ref, func(context.Context, *Snapshot, waltz.ID) error { return nil }))
}

// A key that is told beforehand is looked up with the mark; others as ever.
func TestKeysOfASnapshot(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		step := &applier.Step[*Tx]{Ref: b.row.Ref, Old: waltz.None, New: 3, Epoch: b.row.Epoch, Owner: "me", Keys: []applier.Key{{Key: "a", ID: 0}, {Key: "b\x00", ID: 3}}}
		step.Work = func(context.Context, *Tx) error { return nil }
		require.NoError(t, b.Apply(t.Context(), step))
		for _, told := range []string{"a", "b\x00", "c"} {
			var kept *Snapshot
			require.NoError(t, b.SnapshotFor(t.Context(), b.row.Ref, told, func(ctx context.Context, s *Snapshot, mark waltz.ID) error {
				kept = s
				require.Equal(t, waltz.ID(3), mark)
				for key, want := range map[string]waltz.ID{"a": 0, "b\x00": 3, "c": waltz.None} {
					id, found, err := b.Key(ctx, s, b.row.Ref, key)
					require.NoError(t, err)
					require.Equal(t, want, id, "told %q, asked for %q", told, key)
					require.Equal(t, want != waltz.None, found)
				}
				elsewhere := b.row.Ref
				elsewhere.Number++
				_, found, err := b.Key(ctx, s, elsewhere, told)
				require.NoError(t, err)
				require.False(t, found, "of another partition")
				return nil
			}))
			_, _, err := b.Key(t.Context(), kept, b.row.Ref, told)
			require.Error(t, err, "the snapshot has ended")
		}
	})
}
