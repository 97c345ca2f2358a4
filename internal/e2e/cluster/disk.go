package cluster

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

// Slow makes each sync of the disk take that much longer; 0 undoes it.
func (s *Storage) Slow(by time.Duration) { s.delay.Store(int64(by)) }

func (s *Storage) hook() {
	mem, ok := s.Disk.(*vfs.Mem)
	if !ok {
		return
	}
	mem.SetSyncHook(func(vfs.Op, string) {
		if d := s.delay.Load(); d > 0 {
			time.Sleep(time.Duration(d))
		}
	})
}

// Fill leaves no room on the disk; Empty makes room again.
func (s *Storage) Fill() { s.Mem().SetSpace(s.Mem().Used()) }

// Empty undoes Fill.
func (s *Storage) Empty() { s.Mem().SetSpace(-1) }

// FailSync has one sync of a kind fail, after so many that succeed, and what it
// should have made durable is lost with the machine. The syncs that follow succeed
// as if nothing had happened.
func (s *Storage) FailSync(op vfs.Op, match string, after int) {
	s.Mem().Inject(vfs.Rule{Op: op, Match: match, Skip: after, Times: 1, Err: syscall.EIO})
}

// StopsForGood waits until the storage has failed, and sees to it that it refuses
// everything from then on.
func (s *Storage) StopsForGood(within time.Duration) {
	s.t.Helper()
	select {
	case <-s.host.Failed():
	case <-time.After(within):
		require.FailNow(s.t, "goes on after a failed sync", s.Name)
	}
	st := s.host.Storage()
	require.ErrorIs(s.t, st.Err(), storage.ErrFailed)
	require.ErrorIs(s.t, st.Err(), syscall.EIO)
	_, err := st.Open(s.t.Context(), session.Open{Session: 1 << 40})
	require.ErrorIs(s.t, err, storage.ErrFailed)
	require.Error(s.t, s.host.Err(), "the process does not hear of it")
}

// Damage flips a bit in the middle of the oldest segment of a partition, and
// reports false if it has none.
func (s *Storage) Damage(p txn.Partition) bool {
	dirs, err := s.Mem().List(path.Join(s.o.dir(s.Name), "partitions"))
	if err != nil || int(p) >= len(dirs) {
		return false
	}
	return s.flip(path.Join(s.o.dir(s.Name), "partitions", dirs[p]), ".seg", 2)
}

// DamageJournal flips a bit in the first part of the oldest file of the journal, where
// something stands.
func (s *Storage) DamageJournal() bool {
	return s.flip(path.Join(s.o.dir(s.Name), "journal"), ".journal", 8)
}

func (s *Storage) flip(dir, ending string, part int) bool {
	names, err := s.Mem().List(dir)
	if err != nil {
		return false
	}
	for _, name := range names {
		file := path.Join(dir, name)
		b, err := s.Mem().Bytes(file)
		if strings.HasSuffix(name, ending) && err == nil && len(b) > 8<<10 {
			return s.Mem().Flip(file, int64(len(b)/part), 0x10) == nil
		}
	}
	return false
}

// Repair finds the damage of all replicas and has it repaired from the other storages
// by what an operator has; closed replicas are reset. An error is one of those that
// pass: the others are not able to help yet.
func (s *Storage) Repair(c *Cluster, m *Model) error {
	s.t.Helper()
	client, ok := c.Operate().Storages.Find(s.Name)
	require.True(s.t, ok)
	ctx := s.t.Context()
	if _, err := client.Scrub(ctx); err != nil {
		return err
	}
	replicas, err := client.Replicas(ctx)
	if err != nil {
		return err
	}
	for _, r := range replicas {
		if r.Closed != nil {
			_, _, err = client.ResetReplica(ctx, r.Partition, r.Promise.Replica.Incarnation, r.Partition%2 == 0)
		} else if len(r.Damage) > 0 {
			m := storageclient.Repair{Partition: r.Partition, Committed: m.High(r.Partition)}
			_, err = client.Repair(ctx, m, c.sourceFor(s, r.Partition))
		}
		if err != nil {
			return err
		}
	}
	if replicas, err = client.Replicas(ctx); err != nil {
		return err
	}
	for _, r := range replicas {
		if r.Closed != nil || len(r.Damage) > 0 {
			err = errors.Join(err, fmt.Errorf("storage %s, partition %d: closed: %v, damaged: %v", s.Name, r.Partition, r.Closed, r.Damage))
		}
	}
	return err
}

var errNoSource = errors.New("no other storage has it")
