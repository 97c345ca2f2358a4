package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
)

// Remove says which replica to give up.
type Remove struct {
	Partition txn.Partition
	// Incarnation is the one that the caller means. Zero: whichever it is.
	Incarnation session.Incarnation
	// Keep leaves its files on the disk: a later CreateReplica uses them.
	Keep bool
}

// RemoveReplica gives up a replica; durable on return. It takes no messages any
// more and is not read; if the metadata still names it as a member, it counts as
// absent for ever. With Keep its files stay, and CreateReplica makes of them a
// replica with a new incarnation, as Reset with Keep does; else they are deleted,
// at the latest by the next start. To delete what was kept, call it again.
// Errors: [ErrNoReplica], [ErrOtherIncarnation], [ErrFull], [ErrClosed],
// [ErrFailed].
func (s *Storage) RemoveReplica(ctx context.Context, m Remove) error {
	if err := s.removeReplica(ctx, m); err != nil {
		return fmt.Errorf("remove replica of partition %d: %w", m.Partition, err)
	}
	return nil
}

func (s *Storage) removeReplica(ctx context.Context, m Remove) error {
	ctx, end, err := s.administer(ctx, m.Partition)
	if err != nil {
		return err
	}
	defer end()
	to := partition.Removing
	if m.Keep {
		to = partition.Unassigned
	}
	s.mu.Lock()
	r, err := s.heldLocked(m.Partition, m.Incarnation)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	wait, err := s.writeEntryLocked(r, journal.Entry{Kind: journal.Service, Partition: m.Partition, Session: txn.SessionID(to)})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err := wait(ctx); err != nil {
		return err
	}
	s.o.Logger.Info("replica removed", "partition", int(m.Partition), "files_kept", m.Keep)
	if m.Keep {
		return nil
	}
	return s.finishRemoval(ctx, r)
}

// finishRemoval deletes the files of a replica that is being removed, and forgets
// it.
func (s *Storage) finishRemoval(ctx context.Context, r *replica) error {
	if err := s.onFlusher(ctx, func() error { return s.deleteFiles(r) }); err != nil {
		return s.diskError(ctx, err)
	}
	return s.awaitQueued(ctx, r)
}

// deleteFiles deletes a replica's files and queues the entry that ends it. A
// crash before that entry is durable finds the replica still being removed, with
// some of its files or none, and begins again: the flusher's next checkpoint does.
func (s *Storage) deleteFiles(r *replica) error {
	if r.gone {
		return nil
	}
	p := r.Now.Partition
	if !r.deleted {
		if err := errors.Join(r.log.Cut(txn.None), r.log.Close()); err != nil {
			return err
		}
		if err := s.folder.removePartition(p); err != nil {
			return err
		}
		r.deleted = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.usableLocked() == nil { // else a later checkpoint
		s.enqueueLocked(r, journal.Entry{Kind: journal.Gone, Partition: p}, nil)
		r.gone = true
	}
	return nil
}

// removePartition removes a replica's folder, durably.
func (f folder) removePartition(p txn.Partition) error {
	dir := f.partition(p)
	names, err := f.fs.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list folder of partition %d: %w", p, err)
	}
	for _, name := range names {
		if err := f.fs.Remove(path.Join(dir, name)); err != nil {
			return fmt.Errorf("remove file of partition %d: %w", p, err)
		}
	}
	if err := f.fs.Remove(dir); err != nil {
		return fmt.Errorf("remove folder of partition %d: %w", p, err)
	}
	parent := path.Join(f.dir, partitionsDir)
	if err := f.fs.SyncDir(parent); err != nil {
		return fmt.Errorf("sync folder %s: %w", parent, &damage.SyncError{Err: err})
	}
	return nil
}
