package postgres

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
	other = waltz.Kind[taken]{Header: 8, Name: "other", Codec: waltz.JSON[taken]()}
	shelf = waltz.LockName("shelf")

	errEmpty = errors.New("shelf is empty")
)

const stock = 40

// The whole way on the real log: contexts that read the view, the log that
// refuses stale ones, the applier, read your writes. Nothing is sold twice.
func TestContextsOnTheRealLog(t *testing.T) {
	log := waltztest.New(t, waltztest.WithPartitions(2))
	client := log.Client()
	address := servers.PostgreSQL(t).NewDatabase(t)
	schema(t, address)
	view, err := Open(t.Context(), client, address, applier.Options{Name: "shop"}, applier.On(took, takePieces))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- view.Run(ctx) }()
	runner, err := txcontext.NewRunner(client, view, txcontext.Options{})
	require.NoError(t, err)

	log.Append(0, waltz.Transaction{Header: other.Header, Data: []byte("{}"), Key: "buy-0-3", HighWaterMark: waltz.None}) // no handler wants it, but it has its key
	var mu sync.Mutex
	sold, refused, already := 0, 0, 0
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for n := range 2 * stock / 8 {
				res, err := runner.Run(t.Context(), buy(waltz.Partition(w%2), fmt.Sprintf("buy-%d-%d", w, n)), txcontext.WaitApplied())
				mu.Lock()
				switch {
				case err == nil && res.AlreadyDone:
					already++
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
	require.Equal(t, 1, already)
	require.Equal(t, stock, sold, "refused %d", refused)
	require.Equal(t, int64(0), left(t, view))

	require.NoError(t, runner.Close())
	cancel()
	require.NoError(t, <-ended)
	require.NoError(t, view.Close())
}

func schema(t *testing.T, address string) {
	t.Helper()
	_, err := connect(t, address).Exec(t.Context(), fmt.Sprintf("CREATE TABLE shelves (id int PRIMARY KEY, pieces bigint NOT NULL CHECK (pieces >= 0)); INSERT INTO shelves VALUES (0, %[1]d), (1, %[1]d)", stock/2))
	require.NoError(t, err)
}

func takePieces(ctx context.Context, tx *Tx, r waltz.Record[taken]) error {
	return tx.Queue(ctx, "UPDATE shelves SET pieces = pieces - $1 WHERE id = $2", r.Value.Pieces, r.Value.Shelf)
}

func buy(p waltz.Partition, key string) txcontext.Context[*Snapshot] {
	return txcontext.Context[*Snapshot]{
		Partition: p, Key: key,
		Execute: func(ctx context.Context, s *Snapshot, b *txcontext.Builder) error {
			var pieces int64
			if err := s.QueryRow(ctx, "SELECT pieces FROM shelves WHERE id = $1", int(p)).Scan(&pieces); err != nil {
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

func left(t *testing.T, view *View) (pieces int64) {
	t.Helper()
	require.NoError(t, view.Snapshot(t.Context(), 0, func(ctx context.Context, s *Snapshot, _ waltz.ID) error {
		return s.QueryRow(ctx, "SELECT sum(pieces)::bigint FROM shelves").Scan(&pieces)
	}))
	return pieces
}
