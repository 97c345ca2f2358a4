package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// Storage keeps replicas of partitions in a folder. All methods may be called
// concurrently, Append for one partition by one goroutine at a time.
type Storage struct {
	o       Options
	folder  folder
	start   session.Start
	lock    io.Closer
	journal *journal.Writer // set under mu before any other goroutine of the storage's runs
	files   *segment.Files

	ctx           context.Context // ends with Close, and with a failure
	cancel        context.CancelCauseFunc
	committing    sync.WaitGroup // the goroutine that writes the journal
	flushing      sync.WaitGroup // the one that writes segments
	closing       sync.Once
	closeErr      error
	flushWake     chan struct{}
	bulk          chan struct{}  // holds one for each large read under way
	administering sync.WaitGroup // calls that change replicas as a whole
	scrubbing     sync.WaitGroup // the one that reads everything again
	scrub         scrubber

	mu struct {
		sync.Mutex
		replicas map[txn.Partition]*replica
		queue    *batch // entries that wait for the journal
		spare    *batch
		idle     bool          // the committer waits on wake
		wake     chan struct{} // for the committer; has room for one
		room     chan struct{} // closed and replaced when queue or backlog shrinks
		waiting  int           // on room
		backlog  int           // bytes of memory that wait for the segments
		closed   bool
		err      error // why it failed
		full     struct{ journal, segments error }
		want     struct{ checkpoint, flush bool }
		stats    counters
		odd      []*DamagedError                 // damage that lost nothing
		busy     map[txn.Partition]chan struct{} // being administered; closed when that ends
		tasks    []*task                         // for the flusher
	}
}

// replica is one partition's: what is in memory and what is on disk.
type replica struct {
	*partition.Replica              // guarded by Storage.mu
	log                *segment.Log // written by the flusher only
	rewrites           uint64       // segments replaced by repairs; guarded by Storage.mu
	deleted, gone      bool         // its files are; that is in the journal's queue. The flusher's
}

// Open opens the storage in a folder, or makes one. It replays the journal,
// which takes as long as what was not checkpointed when the last process ended,
// and begins a new journal file. Errors wrap [ErrLocked], [ErrOtherCluster],
// [ErrNewerFormat], [ErrHeaderDamaged] or [ErrFull] where that is the cause.
// Damage to the log itself does not keep a storage from opening; Damage tells.
func Open(ctx context.Context, o Options) (*Storage, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Storage{
		o: o, folder: folder{fs: o.FS, dir: o.Dir, cluster: o.ClusterKey},
		start: session.Start(random()), files: segment.NewFiles(o.FS, o.OpenFilesMax), flushWake: make(chan struct{}, 1),
		bulk: make(chan struct{}, o.BulkReads),
	}
	s.scrub.s = s
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.mu.replicas, s.mu.busy = map[txn.Partition]*replica{}, map[txn.Partition]chan struct{}{}
	s.mu.queue, s.mu.spare = newBatch(), newBatch()
	s.mu.wake, s.mu.room = make(chan struct{}, 1), make(chan struct{})
	if err := s.open(); err != nil {
		s.cancel(ErrClosed)
		if journal.IsFull(err) {
			err = fmt.Errorf("%w: make room and start it again: %w", ErrFull, err)
		}
		return nil, fmt.Errorf("open storage %s: %w", o.Dir, err)
	}
	return s, nil
}

func (s *Storage) open() (err error) {
	if s.lock, err = s.folder.enter(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.files.Close()
			err = errors.Join(err, s.closeLogs(), s.lock.Close())
		}
	}()
	found, err := s.recover()
	if err != nil {
		return err
	}
	j, err := journal.Start(journal.Config{
		FS: s.o.FS, Dir: s.folder.journal(), Cluster: s.o.ClusterKey,
		FileBytes: s.o.JournalFileBytes, FilesMax: s.o.JournalFilesMax,
		Retry: s.o.RetryInterval, Logger: s.o.Logger,
		Snapshot: s.snapshot, Full: s.setJournalFull, Failed: s.fail,
	}, found)
	if err != nil {
		return err
	}
	s.adoptJournal(j)
	s.mu.want.checkpoint = len(found.Files) > 0
	s.wakeFlusher()
	replicas := len(s.mu.replicas) // nobody else changes them yet
	if s.o.ScrubBytesPerSecond > 0 {
		s.scrubbing.Go(s.scrub.run)
	}
	s.committing.Go(s.commitLoop)
	s.flushing.Go(s.flushLoop)
	s.o.Logger.Info("storage opened", "dir", s.o.Dir, "replicas", replicas, "journal_files", len(found.Files))
	return nil
}

// adoptJournal takes a journal that has begun, and may have failed already.
func (s *Storage) adoptJournal(j *journal.Writer) {
	s.mu.Lock()
	s.journal = j
	failed := s.mu.err != nil
	s.mu.Unlock()
	if failed {
		j.Interrupt()
	}
}

// snapshot adds every replica's state to a group.
func (s *Storage) snapshot(g *journal.Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range slices.Sorted(maps.Keys(s.mu.replicas)) {
		g.Add(s.mu.replicas[p].Encode())
	}
}

// Close ends the storage: what was appended is written, segments are synced and
// a new journal file is begun, so that the next Open has almost nothing to
// replay. It returns when nothing of the storage runs any more. It may be called
// more than once. After a failure or on a full disk it leaves the work to the
// next Open; nothing is lost.
func (s *Storage) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Storage) close() error {
	s.mu.Lock()
	s.mu.closed = true
	s.wakeCommitterLocked()
	s.shrunkLocked()
	s.mu.Unlock()
	s.hurry()
	s.committing.Wait()
	s.cancel(ErrClosed)
	s.flushing.Wait()
	s.administering.Wait()
	s.scrubbing.Wait()
	s.settle()
	err := s.journal.Close()
	s.files.Close()
	err = errors.Join(err, s.closeLogs(), s.lock.Close())
	if s.Err() != nil {
		return s.Err()
	}
	return err
}

// hurry makes a storage that is being closed not wait for room on a full disk.
func (s *Storage) hurry() {
	s.mu.Lock()
	stuck := s.mu.closed && (s.mu.full.journal != nil || s.mu.full.segments != nil)
	s.mu.Unlock()
	if stuck {
		s.cancel(ErrClosed)
		s.journal.Interrupt()
	}
}

// settle leaves little to replay, if the disk allows.
func (s *Storage) settle() {
	if s.Err() != nil {
		return
	}
	if err := s.checkpoint(); err != nil {
		s.o.Logger.Warn("last checkpoint failed, the next start replays the journal", "error", err)
		return
	}
	if !s.journal.Prepared() {
		return
	}
	if err := s.journal.Roll(); err != nil {
		s.o.Logger.Warn("last journal file not begun, the next start replays the journal", "error", err)
		return
	}
	s.journal.Free(s.journal.Current())
}

func (s *Storage) closeLogs() error {
	var err error
	for _, r := range s.mu.replicas {
		err = errors.Join(err, r.log.Close())
	}
	return err
}

// Done is closed when the storage has failed or was closed; Err tells.
func (s *Storage) Done() <-chan struct{} { return s.ctx.Done() }

// Err returns why the storage failed, wrapping [ErrFailed]; nil if it did not.
func (s *Storage) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.err
}

// fail stops the storage for good. A failed sync leaves open what is on the
// disk, and asking again proves nothing; only a new process, which reads what is
// there, can know.
func (s *Storage) fail(err error) {
	s.mu.Lock()
	first := s.mu.err == nil
	if first {
		s.mu.err = fmt.Errorf("%w: %w", ErrFailed, err)
	}
	s.wakeCommitterLocked()
	s.shrunkLocked()
	j := s.journal
	s.mu.Unlock()
	if first {
		s.o.Logger.Error("storage failed", "error", err)
		s.cancel(ErrFailed)
		if j != nil {
			j.Interrupt()
		}
	}
}

// mayFail stops the storage if an error of a file system call is not a full
// disk's, and returns it.
func (s *Storage) mayFail(err error) error {
	if journal.IsFull(err) {
		return &FullError{Err: err}
	}
	s.fail(err)
	return s.Err()
}

// replica returns a partition's replica.
func (s *Storage) replica(p txn.Partition) (*replica, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replicaLocked(p)
}

func (s *Storage) replicaLocked(p txn.Partition) (*replica, error) {
	r := s.mu.replicas[p]
	if r == nil || r.NextService >= partition.Unassigned {
		return nil, fmt.Errorf("partition %d: %w", p, ErrNoReplica)
	}
	return r, nil
}

// usableLocked returns why nothing can be written now.
func (s *Storage) usableLocked() error {
	switch {
	case s.mu.err != nil:
		return s.mu.err
	case s.mu.closed:
		return ErrClosed
	case s.mu.full.journal != nil:
		return &FullError{Err: s.mu.full.journal}
	}
	return nil
}

// Full returns an [ErrFull] while what was taken waits in the queue for room on
// the disk, else nil: who has an answer outstanding can learn why.
func (s *Storage) Full() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.full.journal == nil {
		return nil
	}
	return &FullError{Err: s.mu.full.journal}
}

// setJournalFull is told by the journal's keeper. The writer itself may not
// need the next file yet, but what it can still take is not much.
func (s *Storage) setJournalFull(err error) {
	s.mu.Lock()
	s.mu.full.journal = err
	s.shrunkLocked()
	s.mu.Unlock()
	if err != nil {
		s.o.Logger.Warn("disk is full, appends are refused until there is room", "error", err)
		s.hurry()
		return
	}
	s.o.Logger.Info("disk has room again, appends are taken")
}

// noteDamage remembers and reports damage found in segments, also in the journal:
// the next start refuses the same records without having to come across them. It
// does not if changed, which is asked under mu, says that what was read has been
// replaced since. It returns whether the damage is new.
func (s *Storage) noteDamage(r *replica, err error, changed func() bool) (added bool) {
	var d *damage.Error
	if !errors.As(err, &d) {
		return false
	}
	s.mu.Lock()
	if changed != nil && changed() {
		s.mu.Unlock()
		return false
	}
	added = r.AddDamage(d)
	if added && s.usableLocked() == nil && !mutant.On("damage-not-remembered") { // else the next journal file's opening state has it
		s.enqueueLocked(r, partition.Mark(d), nil)
	}
	s.mu.Unlock()
	if added {
		s.reportDamage(d, fmt.Sprintf("waltz storage repair --partition %d", d.Partition))
	}
	return added
}

// reportDamage tells of damage and what an operator has to do about it. A storage alone
// can't repair anything, since it knows no other.
func (s *Storage) reportDamage(d *DamagedError, remedy string) {
	s.o.Logger.Error("damage found", "partition", int(d.Partition), "first", int64(d.First), "last", int64(d.Last),
		"file", d.File, "offset", d.Offset, "reason", d.Reason, "remedy", remedy)
	if s.o.Events.Damaged != nil {
		s.o.Events.Damaged(d)
	}
}

// noteOdd remembers and reports damage that lost nothing.
func (s *Storage) noteOdd(d *DamagedError) {
	s.mu.Lock()
	if len(s.mu.odd) < oddMax {
		s.mu.odd = append(s.mu.odd, d)
	}
	s.mu.Unlock()
	s.reportDamage(d, "none needed, no record was lost")
}

// oddMax bounds how much harmless damage is remembered.
const oddMax = 1000

// random returns a random number other than 0.
func random() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n
		}
	}
}
