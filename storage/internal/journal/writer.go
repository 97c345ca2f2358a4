package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/damage"
)

// Config says where a journal is and how it is kept.
type Config struct {
	FS        vfs.FS
	Dir       string
	Cluster   string
	FileBytes int64         // size of a file, a multiple of Block
	FilesMax  int           // how many files may wait for a checkpoint
	Retry     time.Duration // before a full disk is tried again
	Logger    *slog.Logger
	// Snapshot adds the state of every replica to the first group of a file. It is
	// called by Commit and Roll.
	Snapshot func(*Group)
	// Full is told when the disk is full (the error) and when it no longer is
	// (nil). It is called on a goroutine of the journal.
	Full func(error)
	// Failed is told of a failure after which the journal must not be used.
	Failed func(error)
}

// Stats counts what a journal did since it was opened.
type Stats struct {
	Groups, Rolls  uint64
	Datasyncs      uint64 // of groups; as many as Groups and one for each file
	Bytes          uint64 // written, padding included
	GroupBytesMax  uint64
	SyncTime       time.Duration // spent in writing and syncing groups
	SyncTimeMax    time.Duration
	Files          int // that wait for a checkpoint, and the current one
	Current        uint64
	CurrentBytes   int64 // used of the current file
	FilesZeroed    uint64
	FilesRecycled  uint64
	DamagedKept    uint64
	PreparedAhead  bool
	WaitsForBlocks uint64 // rolls that had to wait for a prepared file
}

// Writer writes a journal. Commit and Roll are for one goroutine at a time; the
// other methods may be called concurrently.
type Writer struct {
	c      Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	file vfs.File // current
	mark vfs.File
	at   place // of the next group

	prepared chan vfs.File // the file after the current one, header written
	wake     chan struct{} // for the keeper

	mu struct {
		sync.Mutex
		freeTo  uint64          // files below are no longer needed
		damaged map[uint64]bool // kept aside when they are freed
		number  uint64          // current
		stats   Stats
	}
}

// Start begins a file behind what Replay found, writes its first group and
// syncs it. oldest is the first file that is still needed.
func Start(c Config, found Found) (*Writer, error) {
	w := &Writer{c: c, prepared: make(chan vfs.File, 1), wake: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.mu.damaged = found.Damaged
	w.at.seq = found.Seq
	k := &keeper{w: w, oldest: found.Next, next: found.Next}
	if len(found.Files) > 0 {
		k.oldest = found.Files[0]
	}
	w.mu.stats.Files = len(found.Files) + 1
	if err := w.start(k, found); err != nil {
		w.cancel()
		return nil, fmt.Errorf("start journal %s: %w", c.Dir, err)
	}
	w.wg.Go(k.run)
	return w, nil
}

func (w *Writer) start(k *keeper, found Found) error {
	if err := w.settle(found); err != nil {
		return err
	}
	var err error
	if w.mark, _, _, err = openMark(w.c.FS, w.c.Dir); err != nil {
		return err
	}
	f, err := k.adopt()
	if err != nil {
		return errors.Join(err, w.mark.Close())
	}
	w.prepared <- f
	if err := w.roll(); err != nil {
		return errors.Join(err, w.mark.Close())
	}
	return nil
}

// settle makes what Replay read durable: what is answered from now on relies on
// it. It may have read what a killed process wrote and did not sync. Or what a
// failed process could not sync: those bytes are only in the page cache, marked
// clean, so that a sync does nothing for them unless they are written again.
func (w *Writer) settle(found Found) error {
	if n := len(found.Files); n > 0 {
		f, err := w.c.FS.Open(path.Join(w.c.Dir, FileName(found.Files[n-1])))
		if err != nil {
			return err
		}
		if u := found.Unsure; u.File == found.Files[n-1] && !mutant.On("failed-sync-trusted-after-restart") {
			err = rewrite(f, u.From, u.To)
		}
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if err := f.Sync(); err != nil {
			return errors.Join(&damage.SyncError{Err: err}, f.Close())
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return w.c.FS.SyncDir(w.c.Dir)
}

// rewrite writes what stands in a part of a file at its place again.
func rewrite(f vfs.File, from, to int64) error {
	b := make([]byte, min(windowSize, to-from))
	for ; from < to; from += int64(len(b)) {
		b = b[:min(int64(len(b)), to-from)]
		if _, err := f.ReadAt(b, from); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, from); err != nil {
			return err
		}
	}
	return nil
}

// Commit writes a group and syncs it. When it returns nil every entry is
// durable. An error that is ENOSPC changed nothing and may be tried again with
// the same group; after any other the writer must not be used.
func (w *Writer) Commit(g *Group) error {
	if w.at.offset+int64(g.Bytes()) > w.c.FileBytes && w.at.offset > Block {
		if err := w.roll(); err != nil {
			return fmt.Errorf("begin journal file: %w", err)
		}
	}
	if err := w.write(g); err != nil {
		return fmt.Errorf("write journal file %s: %w", FileName(w.at.file), err)
	}
	return nil
}

// Roll begins the next file, so that all before it may be freed. Errors are as
// Commit's.
func (w *Writer) Roll() error {
	if err := w.roll(); err != nil {
		return fmt.Errorf("begin journal file: %w", err)
	}
	return nil
}

// write puts a group at its place. Nothing else in the process waits for this
// disk in the same way, so this is where an append's latency comes from.
func (w *Writer) write(g *Group) error {
	b := g.seal(w.at)
	began := time.Now()
	if _, err := w.file.WriteAt(b, w.at.offset); err != nil { // a direct write is its own sync
		return finalUnlessFull(err)
	}
	if err := w.file.Datasync(); err != nil {
		return &damage.SyncError{Err: err}
	}
	took := time.Since(began)
	w.at.offset += int64(len(b))
	w.at.seq++
	w.count(len(b), took)
	// Before anybody hears of the group: what was answered is below the mark.
	if _, err := w.mark.WriteAt(mark{file: w.at.file, end: w.at.offset}.encode(), 0); err != nil {
		w.c.Logger.Warn("mark of the journal not written", "error", err)
	}
	return nil
}

func (w *Writer) count(bytes int, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.mu.stats
	s.Groups++
	s.Datasyncs++
	s.Bytes += uint64(bytes)
	s.GroupBytesMax = max(s.GroupBytesMax, uint64(bytes))
	s.SyncTime += took
	s.SyncTimeMax = max(s.SyncTimeMax, took)
	s.CurrentBytes = w.at.offset
}

// roll switches to the prepared file and writes its first group. If that fails
// for want of space the old file stays the current one.
func (w *Writer) roll() error {
	next, err := w.takePrepared()
	if err != nil {
		return err
	}
	old, at := w.file, w.at
	w.file, w.at = next, place{file: w.nextNumber(), offset: Block, seq: at.seq}
	g := NewGroup(Block)
	w.c.Snapshot(g)
	if err := w.write(g); err != nil {
		w.file, w.at = old, at
		w.prepared <- next
		return err
	}
	w.mu.Lock()
	w.mu.number = w.at.file
	w.mu.stats.Rolls++
	w.mu.Unlock()
	w.wakeKeeper()
	if old != nil {
		return old.Close()
	}
	return nil
}

func (w *Writer) nextNumber() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.number + 1
}

func (w *Writer) takePrepared() (vfs.File, error) {
	select {
	case f := <-w.prepared:
		return f, nil
	default:
	}
	w.mu.Lock()
	w.mu.stats.WaitsForBlocks++
	w.mu.Unlock()
	select {
	case f := <-w.prepared:
		return f, nil
	case <-w.ctx.Done():
		return nil, context.Cause(w.ctx)
	}
}

// Free says that no file below number is needed any more. It returns at once.
func (w *Writer) Free(number uint64) {
	w.mu.Lock()
	w.mu.freeTo = max(w.mu.freeTo, min(number, w.mu.number))
	w.mu.Unlock()
	w.wakeKeeper()
}

// Current returns the number of the file that is being written.
func (w *Writer) Current() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.number
}

// Stats returns the counters.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.mu.stats
	s.Current = w.mu.number
	s.PreparedAhead = len(w.prepared) > 0
	return s
}

// Prepared reports whether the next file is ready, so that Roll does not wait.
func (w *Writer) Prepared() bool { return len(w.prepared) > 0 }

func (w *Writer) wakeKeeper() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Writer) closing() bool { return w.ctx.Err() != nil }

// Interrupt makes a Commit or Roll that waits for a prepared file return an
// error, and stops preparing.
func (w *Writer) Interrupt() { w.cancel() }

// Close frees what Free was told of and closes the files. Commit must have
// returned.
func (w *Writer) Close() error {
	w.cancel()
	w.wg.Wait()
	err := errors.Join(w.file.Close(), w.mark.Close())
	select {
	case f := <-w.prepared:
		err = errors.Join(err, f.Close())
	default:
	}
	return err
}
