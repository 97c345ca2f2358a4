package storage_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/vfs"
)

// TestCreateReplicaIsGivenUp: the first caller gave up while the disk was busy, a
// second one comes, and the first one's entry is durable before the second one's
// would be. There must be one replica all the same: a second incarnation would
// drop a promise that was given in between (I3).
func TestCreateReplicaIsGivenUp(t *testing.T) {
	fsys := vfs.NewMem()
	s := open(t, small(fsys))
	syncs, goOn := make(chan struct{}), make(chan struct{})
	fsys.SetSyncHook(func(op vfs.Op, name string) {
		if op == vfs.OpDatasync && strings.HasSuffix(name, ".journal") {
			syncs <- struct{}{}
			<-goOn
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	first := make(chan error, 1)
	go func() { _, err := s.CreateReplica(ctx, 0); first <- err }()
	<-syncs
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)
	_, err := s.CreateReplica(ctx, 0) // whatever it writes waits behind that
	require.ErrorIs(t, err, context.Canceled)
	goOn <- struct{}{}
	require.Eventually(t, func() bool { _, err := s.State(0); return err == nil }, time.Minute, time.Millisecond)
	promise, err := s.Open(ctx, session.Open{Partition: 0, Session: 1})
	require.ErrorIs(t, err, context.Canceled) // it is in the queue
	go func() {
		for range syncs {
			goOn <- struct{}{}
		}
	}()
	_, err = s.CreateReplica(context.Background(), 1) // all before it is durable
	require.NoError(t, err)
	self, err := s.CreateReplica(context.Background(), 0)
	require.NoError(t, err)
	require.Equal(t, promise.Replica, self)
	state, err := s.State(0)
	require.NoError(t, err)
	require.Equal(t, promise, state)
	fsys.SetSyncHook(nil)
	close(syncs)
	require.NoError(t, s.Close())

	s = open(t, small(fsys))
	state, err = s.State(0)
	require.NoError(t, err)
	require.Equal(t, promise.Replica.Incarnation, state.Replica.Incarnation)
	require.Equal(t, promise.Promised, state.Promised)
	require.NoError(t, s.Close())
}
