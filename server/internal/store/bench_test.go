package store_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/server/internal/store"
)

// instant answers appends before it returns: what is left is the session's own.
type instant struct {
	*storage
	last txn.ID
}

func (r *instant) Append(_ context.Context, m session.Append, done func(session.Appended, error)) error {
	r.last++
	done(session.Appended{Replica: m.Replica, Last: r.last}, nil)
	return nil
}

func (r *instant) TryAppend(m session.Append, done func(session.Appended, error)) error {
	return r.Append(context.Background(), m, done)
}

func instantSession(tb testing.TB) *store.Session {
	disk := newStorage(1)
	tb.Cleanup(disk.stop)
	meta := local.NewMemory()
	require.NoError(tb, metadata.Create(tb.Context(), meta, metadata.Cluster{Key: "k", Partitions: 1}, []string{"s1"}))
	s, err := store.Open(tb.Context(), store.Config{
		Metadata: meta, Replicas: map[string]store.Replica{"s1": &instant{storage: disk, last: txn.None}},
		Events: store.Events{Committed: func(txn.ID) {}},
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close(context.Background())) })
	return s
}

func BenchmarkAppend(b *testing.B) {
	s := instantSession(b)
	f := frame(s, 0, 0)
	ctx := b.Context()
	b.ReportAllocs()
	id := txn.None
	for b.Loop() {
		id++
		if err := s.Append(ctx, f, id); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	s := instantSession(t)
	f, id, ctx := frame(s, 0, 0), txn.None, t.Context()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		id++
		_ = s.Append(ctx, f, id)
	}))
}
