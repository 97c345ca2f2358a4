package mysql

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
	"github.com/waltz-log/waltz/waltz/waltztest"
)

var _ txcontext.View[*Snapshot] = (*View)(nil)

type taken struct{ Shelf, Pieces int64 }

var (
	took  = waltz.Kind[taken]{Header: 7, Name: "taken", Codec: waltz.JSON[taken]()}
	shelf = waltz.LockName("shelf")

	errEmpty = errors.New("shelf is empty")
)

// The whole way on the real log: contexts that read the view, the log that
// refuses stale ones, the applier, read your writes. Nothing is sold twice.
func TestContextsOnTheRealLog(t *testing.T) {
	const stock, writers = 40, 8
	log := waltztest.New(t, waltztest.WithPartitions(2))
	client := log.Client()
	addr := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, addr)
	for _, query := range []string{"CREATE TABLE shelves (id int PRIMARY KEY, pieces int NOT NULL CHECK (pieces >= 0))", fmt.Sprintf("INSERT INTO shelves VALUES (0, %d), (1, %[1]d)", stock/2)} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
	view, err := Open(t.Context(), client, addr, applier.Options{Name: "shop"}, applier.On(took, func(ctx context.Context, tx *Tx, r waltz.Record[taken]) error {
		_, err := tx.Exec(ctx, "UPDATE shelves SET pieces = pieces - ? WHERE id = ?", r.Value.Pieces, r.Value.Shelf)
		return err
	}))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- view.Run(ctx) }()
	runner, err := txcontext.NewRunner(client, view, txcontext.Options{})
	require.NoError(t, err)

	var mu sync.Mutex
	sold, refused := 0, 0
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range 2 * stock / writers {
				_, err := runner.Run(t.Context(), buy(waltz.Partition(w%2), fmt.Sprintf("buy-%d-%d", w, n)), txcontext.WaitApplied())
				mu.Lock()
				switch {
				case err == nil:
					sold++
				case errors.Is(err, errEmpty):
					refused++
				default:
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Equal(t, stock, sold, "refused %d", refused)
	var left int
	require.NoError(t, view.Snapshot(t.Context(), 0, func(ctx context.Context, s *Snapshot, _ waltz.ID) error {
		return s.QueryRow(ctx, "SELECT sum(pieces) FROM shelves").Scan(&left)
	}))
	require.Zero(t, left)

	require.NoError(t, runner.Close())
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, view.Close())
}

func buy(p waltz.Partition, key string) txcontext.Context[*Snapshot] {
	return txcontext.Context[*Snapshot]{
		Partition: p, Key: key,
		Execute: func(ctx context.Context, s *Snapshot, b *txcontext.Builder) error {
			var pieces int64
			if err := s.QueryRow(ctx, "SELECT pieces FROM shelves WHERE id = ?", int(p)).Scan(&pieces); err != nil {
				return err
			}
			if pieces == 0 {
				return txcontext.Decline(errEmpty)
			}
			b.Write(shelf.ID(uint64(p)))
			return took.Put(b, taken{Shelf: int64(p), Pieces: 1})
		},
	}
}
