package view_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/waltz"
)

var servers dbtest.Servers

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

const partitions = 2

// growingLog is a log in memory. What is appended by one call is one batch.
type growingLog struct {
	mu      sync.Mutex
	batches [partitions][][]waltz.Committed
	ends    [partitions]waltz.ID
	more    chan struct{}
}

func newLog() *growingLog {
	return &growingLog{ends: [partitions]waltz.ID{waltz.None, waltz.None}, more: make(chan struct{})}
}

func (l *growingLog) append(t testing.TB, records []waltz.Record[ledger.Entry]) {
	var batch []waltz.Committed
	for _, r := range records {
		data, err := ledger.Codec{}.Encode(r.Value)
		require.NoError(t, err)
		c := r.Committed
		c.Header, c.Data, c.DataLen = r.Value.Kind.Of().Header, data, len(data)
		batch = append(batch, c)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	p := batch[0].Partition
	l.batches[p] = append(l.batches[p], batch)
	l.ends[p] = batch[len(batch)-1].ID
	close(l.more)
	l.more = make(chan struct{})
}

func (l *growingLog) LogID() string   { return "growing" }
func (l *growingLog) Partitions() int { return partitions }

func (l *growingLog) HighWaterMark(_ context.Context, p waltz.Partition) (waltz.ID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ends[p], nil
}

func (l *growingLog) Subscribe(_ context.Context, o waltz.SubscribeOptions) (applier.Feed, error) {
	f := &growingFeed{log: l, p: o.Partition}
	for i, batch := range l.batches[o.Partition] {
		if batch[0].ID <= o.HighWaterMark {
			f.next = i + 1
		}
	}
	return f, nil
}

type growingFeed struct {
	log  *growingLog
	p    waltz.Partition
	next int
}

func (f *growingFeed) Next(ctx context.Context, _ int) (waltz.Batch, error) {
	for {
		f.log.mu.Lock()
		batches, more := f.log.batches[f.p], f.log.more
		f.log.mu.Unlock()
		if f.next < len(batches) {
			batch := batches[f.next]
			f.next++
			end := batch[len(batch)-1].ID
			return waltz.Batch{Partition: f.p, Transactions: batch, HighWaterMark: end, Committed: end}, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return waltz.Batch{}, ctx.Err()
		}
	}
}

func (f *growingFeed) Close() error { return nil }

// shown is a view that follows a log of its own.
type shown struct {
	view.View
	log *growingLog
}

// apply appends records of one partition as one batch, and waits until they are shown.
func (s *shown) apply(t testing.TB, records ...waltz.Record[ledger.Entry]) {
	t.Helper()
	s.begin(t, records...)
	s.end(t, records...)
}

func (s *shown) begin(t testing.TB, records ...waltz.Record[ledger.Entry]) {
	t.Helper()
	if len(records) > 0 {
		s.log.append(t, records)
	}
}

func (s *shown) end(t testing.TB, records ...waltz.Record[ledger.Entry]) {
	t.Helper()
	if len(records) > 0 {
		last := records[len(records)-1]
		require.NoError(t, s.WaitFor(t.Context(), last.Partition, last.ID))
	}
}

func (s *shown) read(t testing.TB, read func(context.Context, view.Snapshot)) {
	t.Helper()
	require.NoError(t, s.Snapshot(t.Context(), 0, func(ctx context.Context, snapshot view.Snapshot, _ waltz.ID) error {
		read(ctx, snapshot)
		return nil
	}))
}

func open(t testing.TB, address string) *shown {
	t.Helper()
	db, err := view.ParseDatabase(address)
	require.NoError(t, err)
	log := newLog()
	v, err := db.Open(t.Context(), log, applier.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, v.Close())
	})
	return &shown{v, log}
}

func sqliteAddress(t testing.TB) string {
	return "sqlite://" + filepath.Join(t.TempDir(), "view.db")
}

// onEach runs a test on each database.
func onEach(t *testing.T, test func(t *testing.T, address func(testing.TB) string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqliteAddress) })
	t.Run("postgres", func(t *testing.T) { test(t, servers.PostgreSQL(t).NewDatabase) })
	t.Run("mariadb", func(t *testing.T) { test(t, servers.MariaDB(t).NewDatabase) })
}
