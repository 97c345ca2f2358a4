package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/server/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a metadata store and some storages for one partition.
type cluster struct {
	t        *testing.T
	meta     *local.Store
	storages map[string]*storage
	config   store.Config

	mu        sync.Mutex
	committed []txn.ID
	changed   chan struct{}
}

func newCluster(t *testing.T, storages int) *cluster {
	c := &cluster{t: t, meta: local.NewMemory(), storages: map[string]*storage{}, changed: make(chan struct{}, 1)}
	replicas := map[string]store.Replica{}
	var target []string
	for i := range storages {
		name := fmt.Sprintf("s%d", i+1)
		c.storages[name] = newStorage(session.Incarnation(100 + i))
		t.Cleanup(c.storages[name].stop)
		replicas[name] = c.storages[name]
		target = append(target, name)
	}
	require.NoError(t, metadata.Create(t.Context(), c.meta, metadata.Cluster{Key: "k", Name: "test", Partitions: 1}, target))
	c.config = store.Config{
		Metadata: c.meta, Replicas: replicas, Backoff: time.Millisecond,
		Events: store.Events{Committed: c.tell},
	}
	return c
}

func (c *cluster) tell(id txn.ID) {
	c.mu.Lock()
	c.committed = append(c.committed, id)
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *cluster) open() *store.Session {
	s, err := store.Open(c.t.Context(), c.config)
	require.NoError(c.t, err)
	c.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // whatever the test left uncommitted is not waited for
		_ = s.Close(ctx)
	})
	return s
}

// waitCommitted waits until the session has told of id.
func (c *cluster) waitCommitted(id txn.ID) {
	c.t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		c.mu.Lock()
		reached := len(c.committed) > 0 && c.committed[len(c.committed)-1] >= id
		c.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-c.changed:
		case <-deadline:
			require.FailNow(c.t, "not committed", "transaction %d", id)
		}
	}
}

func (c *cluster) m() metadata.PartitionState {
	m, _, err := metadata.LoadPartition(context.Background(), c.meta, 0)
	require.NoError(c.t, err)
	return m
}

// frame makes records first..last of a session.
func frame(s *store.Session, first, last txn.ID) record.Frame {
	var f record.Frame
	for id := first; id <= last; id++ {
		f = record.Append(f, &record.Record{
			ID: id, Stamp: s.ID(), Time: txn.Timestamp(1000 + id), Data: fmt.Appendf(nil, "record %d of session %d", id, s.ID()),
		}, nil)
	}
	return f
}

func (c *cluster) append(s *store.Session, first, last txn.ID) {
	c.t.Helper()
	require.NoError(c.t, s.Append(c.t.Context(), frame(s, first, last), last))
}

func ended(t *testing.T, s *store.Session) error {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(10 * time.Second):
		require.FailNow(t, "session goes on")
	}
	return s.Err()
}

func TestOpenAppendReopen(t *testing.T) {
	for _, storages := range []int{1, 3} {
		t.Run(fmt.Sprintf("storages=%d", storages), func(t *testing.T) {
			c := newCluster(t, storages)
			s := c.open()
			require.Equal(t, txn.None, s.High())
			require.Zero(t, s.HighStamp())
			require.Equal(t, txn.SessionID(1), s.ID())
			c.append(s, 0, 4)
			c.append(s, 5, 5)
			c.waitCommitted(5)
			f, err := s.Read(t.Context(), 2, 100, 1<<20)
			require.NoError(t, err)
			span, err := f.Check()
			require.NoError(t, err)
			require.Equal(t, []txn.ID{2, 5}, []txn.ID{span.First, span.Last})
			id, err := s.At(t.Context(), 1003)
			require.NoError(t, err)
			require.Equal(t, txn.ID(3), id)
			require.NoError(t, s.Close(t.Context()))
			require.ErrorIs(t, s.Err(), store.ErrClosed)
			require.ErrorIs(t, s.Append(t.Context(), frame(s, 6, 6), 6), store.ErrClosed)

			s = c.open()
			require.Equal(t, txn.SessionID(2), s.ID())
			require.Equal(t, txn.ID(5), s.High())
			require.Equal(t, txn.SessionID(1), s.HighStamp())
			require.Equal(t, txn.Timestamp(1005), s.HighTime())
			c.append(s, 6, 9)
			c.waitCommitted(9)
		})
	}
}

// Step 5: M says who the members are before anything is appended. Catches the
// mutant record-cas-skipped.
func TestMetadataRecordsMembersBeforeTheSessionOpens(t *testing.T) {
	c := newCluster(t, 1)
	c.open()
	require.Equal(t, txn.SessionID(1), c.m().Opened)
	require.Equal(t, []metadata.Member{{Storage: "s1", Incarnation: 100, Installed: 1}}, c.m().Members)
}

// Step 4: catches the mutant install-skipped.
func TestReplicaIsInstalledBeforeItTakesAppends(t *testing.T) {
	c := newCluster(t, 1)
	s := c.open()
	require.Equal(t, s.ID(), c.storages["s1"].state.Installed)
	c.append(s, 0, 0)
	c.waitCommitted(0)
}

// Step 3: catches the mutant wiped-replica-counted.
func TestWipedReplicaIsNoEmptyVote(t *testing.T) {
	c := newCluster(t, 1)
	s := c.open()
	c.append(s, 0, 3)
	c.waitCommitted(3)
	require.NoError(t, s.Close(t.Context()))
	c.storages["s1"].wipe(999)
	_, err := store.Open(t.Context(), c.config)
	require.ErrorIs(t, err, session.ErrNoMajority)
	require.ErrorIs(t, err, session.ErrWiped)
	require.ErrorContains(t, err, "s1")
}

func TestNewSessionFencesTheOldOne(t *testing.T) {
	c := newCluster(t, 1)
	c.config.Metadata = deaf{c.meta}
	old := c.open()
	c.append(old, 0, 0)
	c.waitCommitted(0)
	s := c.open()
	if err := old.Append(t.Context(), frame(old, 1, 1), 1); err != nil { // as a rule it does not know yet
		require.ErrorIs(t, err, session.ErrFenced)
	}
	require.ErrorIs(t, ended(t, old), session.ErrFenced)
	c.append(s, 1, 1)
	c.waitCommitted(1)
	require.NotContains(t, string(c.storages["s1"].bytes()), "record 1 of session 1")
}

// deaf is metadata that tells of no changes.
type deaf struct{ metadata.Store }

func (d deaf) Watch(ctx context.Context, _ string) (<-chan struct{}, error) {
	never := make(chan struct{})
	context.AfterFunc(ctx, func() { close(never) })
	return never, nil
}

func TestReassignedPartitionIsNotClaimed(t *testing.T) {
	c := newCluster(t, 1)
	c.config.Generation = 5
	c.open()
	c.config.Generation = 4
	_, err := store.Open(t.Context(), c.config)
	require.ErrorIs(t, err, session.ErrReassigned)
}

func TestMissingMetadataIsNoEmptyLog(t *testing.T) {
	c := newCluster(t, 1)
	c.config.Metadata = local.NewMemory()
	_, err := store.Open(t.Context(), c.config)
	require.ErrorIs(t, err, metadata.ErrNotFound)
}

func TestDataOfANewPartitionIsRefused(t *testing.T) {
	c := newCluster(t, 1)
	s := c.open()
	c.append(s, 0, 0)
	c.waitCommitted(0)
	require.NoError(t, s.Close(t.Context()))
	meta := local.NewMemory()
	require.NoError(t, metadata.Create(t.Context(), meta, metadata.Cluster{Key: "k", Partitions: 1}, []string{"s1"}))
	c.config.Metadata = meta
	_, err := store.Open(t.Context(), c.config)
	require.Error(t, err)
	c.config.Metadata = c.meta
	c.open()
}

func TestAppendWaitsWhileTheQueueIsFull(t *testing.T) {
	c := newCluster(t, 1)
	c.config.QueueMax = 1 << 20
	s := c.open()
	c.storages["s1"].set(func() { c.storages["s1"].held = true })
	big := func(id txn.ID) record.Frame {
		return record.Append(nil, &record.Record{ID: id, Stamp: s.ID(), Data: make([]byte, 600<<10)}, nil)
	}
	require.NoError(t, s.Append(t.Context(), big(0), 0))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.Append(ctx, big(1), 1), context.DeadlineExceeded)
	c.storages["s1"].release()
	require.NoError(t, s.Append(t.Context(), big(1), 1))
	c.waitCommitted(1)
}

func TestCloseDrains(t *testing.T) {
	c := newCluster(t, 1)
	s := c.open()
	c.storages["s1"].set(func() { c.storages["s1"].held = true })
	c.append(s, 0, 9)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	go c.storages["s1"].release()
	require.NoError(t, s.Close(t.Context()))
	c.waitCommitted(9)
	require.NoError(t, s.Close(ctx))
}

func TestOpenEndsWithItsContextAndSaysWhatItWaitedFor(t *testing.T) {
	c := newCluster(t, 3)
	c.config.LostMax = time.Hour
	for _, s := range c.storages {
		s.down = errBroke
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := store.Open(ctx, c.config)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, errBroke)
}

func TestStorageThatFailsAtOpeningIsReported(t *testing.T) {
	c := newCluster(t, 1)
	c.storages["s1"].down = errBroke
	_, err := store.Open(t.Context(), c.config)
	require.ErrorIs(t, err, errBroke)
}

// Damage is told as what keeps a session from being opened only if nothing that
// passes does, since it is taken for final.
func TestDamageIsToldIfItIsTheOnlyReason(t *testing.T) {
	lost := fmt.Errorf("segment 1: %w", &record.CorruptError{Reason: "checksum"})
	for _, other := range []error{errBroke, lost} {
		c := newCluster(t, 3)
		c.config.LostMax = 20 * time.Millisecond
		c.storages["s1"].down, c.storages["s2"].down = lost, other
		_, err := store.Open(t.Context(), c.config)
		require.ErrorIs(t, err, store.ErrNoMajority)
		require.ErrorIs(t, err, other)
		require.Equal(t, errors.Is(other, lost), record.IsCorrupt(err))
	}
}

// A minority may go and come back without a pause, and holds everything in the
// end (P2).
func TestMinorityGoesAndComesBack(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.append(s, 0, 9)
	c.waitCommitted(9)
	away := c.storages["s3"]
	away.set(func() { away.down = errBroke })
	for id := txn.ID(10); id < 60; id++ {
		c.append(s, id, id)
	}
	c.waitCommitted(59)
	away.restart()
	next := txn.ID(60)
	require.Eventually(t, func() bool {
		c.append(s, next, next)
		next++
		return away.last() >= next-2 && away.last() > 60
	}, 10*time.Second, time.Millisecond)
	c.waitCommitted(next - 1)
	require.Eventually(t, func() bool { return away.last() == next-1 }, 10*time.Second, time.Millisecond)
	require.Equal(t, c.storages["s1"].bytes(), away.bytes())
}

// A wiped disk is filled again and only then written into M as a member.
func TestWipedMinorityIsFilledAgain(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	c.count(s)
	c.append(s, 0, 49)
	c.waitCommitted(49)
	require.NoError(t, s.Close(t.Context()))
	c.storages["s2"].wipe(777)
	c.config.CopyMax = 200
	s = c.open()
	require.Equal(t, txn.ID(49), s.High())
	require.Eventually(t, func() bool {
		m, _ := c.m().Member("s2")
		return m.Incarnation == 777 && m.Installed == s.ID()
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, c.storages["s1"].bytes(), c.storages["s2"].bytes())
}

func TestConfigReportsAllMistakes(t *testing.T) {
	_, err := store.Open(t.Context(), store.Config{Partition: -1, QueueMax: 5})
	for _, part := range []string{"metadata", "no replicas", "partition is -1", "queue of 5 bytes"} {
		require.ErrorContains(t, err, part)
	}
}

// lossy changes the metadata and then loses the answer, a few times.
type lossy struct {
	metadata.Store
	mu   sync.Mutex
	lose int
}

func (l *lossy) Set(ctx context.Context, key string, value []byte, version metadata.Version) (metadata.Version, error) {
	version, err := l.Store.Set(ctx, key, value, version)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && l.lose > 0 {
		l.lose--
		return 0, fmt.Errorf("connection lost: %w", metadata.ErrUnknown)
	}
	return version, err
}

// A lost answer counts as a lost compare-and-set: the number is given up, and a
// new one claimed (steps 1, 2 and 5).
func TestLostAnswersOfTheMetadata(t *testing.T) {
	for lose := 1; lose <= 4; lose++ {
		c := newCluster(t, 3)
		c.config.Metadata = &lossy{Store: c.meta, lose: lose}
		s := c.open()
		require.Greater(t, s.ID(), txn.SessionID(lose/2))
		require.Equal(t, s.ID(), c.m().Session)
		require.Equal(t, s.ID(), c.m().Opened)
		c.append(s, 0, 9)
		c.waitCommitted(9)
	}
}

// The operator's change of the target does not end a session, though it changes
// M's version; a returning replica is recorded in spite of it.
func TestOperatorChangesTheTargetOfAnOpenSession(t *testing.T) {
	c := newCluster(t, 3)
	s := c.open()
	away := c.storages["s3"]
	away.set(func() { away.down = errBroke })
	c.append(s, 0, 9)
	c.waitCommitted(9)
	require.Eventually(t, func() bool {
		m, version, err := metadata.LoadPartition(t.Context(), c.meta, 0)
		require.NoError(t, err)
		m.Target = []string{"s1", "s2"}
		_, err = metadata.SavePartition(t.Context(), c.meta, 0, m, version)
		return err == nil
	}, 10*time.Second, time.Millisecond)
	away.restart()
	require.Eventually(t, func() bool { return away.last() == 9 }, 10*time.Second, time.Millisecond)
	c.append(s, 10, 12)
	c.waitCommitted(12)
	require.NoError(t, s.Err())
	require.Equal(t, []string{"s1", "s2"}, c.m().Target)
}

// A majority that is away ends the session after a while, and not before.
func TestLostMajorityEndsTheSession(t *testing.T) {
	c := newCluster(t, 3)
	c.config.LostMax = 20 * time.Millisecond
	s := c.open()
	for _, name := range []string{"s1", "s2"} {
		c.storages[name].set(func() { c.storages[name].down = errBroke })
	}
	require.NoError(t, s.Append(t.Context(), frame(s, 0, 0), 0))
	require.ErrorIs(t, ended(t, s), store.ErrNoMajority)
}
