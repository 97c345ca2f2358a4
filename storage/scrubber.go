package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync/atomic"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/partition"
	"github.com/waltz-log/waltz/storage/internal/segment"
)

// ScrubState says how far the background scrub is.
type ScrubState struct {
	Running       bool
	Partition     txn.Partition // that it is at
	Next          txn.ID        // record that it goes on at
	Bytes         int64         // read in this pass
	Total         int64         // in all segments when it began, or was taken up
	Damage        int           // ranges found in it
	Began         time.Time     // this pass; zero: none is under way
	LastEnded     time.Time     // the last whole pass; zero: there was none
	LastBytes     int64         // read in it
	LastDamage    int           // ranges found in it
	LastRemaining time.Duration // until the next pass; zero while one runs
}

// scrubber reads everything that is in segments again and again, slowly, so that
// damage is found while the other replicas still have what it hit. Between two
// reads it waits as its rate demands, and as long as the journal is writing, up to
// [scrubPatience] times as long as a read may take: under load that never ends it
// goes at that part of its rate.
//
// It goes on where it was after a restart, to a segment. That place is a hint: it
// is not synced, and if it is lost the pass begins anew.
type scrubber struct {
	s       *Storage
	now     ScrubState // guarded by Storage.mu
	since   time.Time  // from when on the interval to the next pass counts
	next    time.Time  // before which nothing is read
	bytes   atomic.Int64
	passes  atomic.Int64
	damaged atomic.Int64
}

// scrubPatience is how many times longer than its rate demands a scrub waits for
// a busy journal.
const scrubPatience = 15

// ScrubState returns how far the background scrub is.
func (s *Storage) ScrubState() ScrubState {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.scrub.now
	if !st.Running && s.o.ScrubBytesPerSecond > 0 {
		st.LastRemaining = max(0, time.Until(s.scrub.since.Add(s.o.ScrubInterval)))
	}
	return st
}

// run scrubs until the storage ends.
func (c *scrubber) run() {
	c.load()
	for {
		if !c.s.ScrubState().Running {
			c.s.mu.Lock()
			due := time.Until(c.since.Add(c.s.o.ScrubInterval))
			c.s.mu.Unlock()
			if !c.s.pause(c.s.ctx, max(due, 0)) {
				return
			}
			c.begin()
		}
		if err := c.pass(); err != nil {
			if c.s.ctx.Err() != nil {
				return
			}
			c.s.o.Logger.Warn("scrub interrupted, it goes on later", "error", err)
			if !c.s.pause(c.s.ctx, scrubRetry) {
				return
			}
			continue
		}
		c.end()
	}
}

// scrubRetry is how long a scrub rests after a disk could not be read.
const scrubRetry = time.Minute

func (c *scrubber) begin() {
	total := c.total()
	c.change(func(st *ScrubState) {
		*st = ScrubState{Running: true, Total: total, Began: time.Now(), LastEnded: st.LastEnded, LastBytes: st.LastBytes, LastDamage: st.LastDamage}
	})
	c.save()
}

func (c *scrubber) end() {
	var ended ScrubState
	c.change(func(st *ScrubState) {
		*st = ScrubState{LastEnded: time.Now(), LastBytes: st.Bytes, LastDamage: st.Damage}
		c.since = st.LastEnded
		ended = *st
	})
	c.passes.Add(1)
	c.save()
	c.s.wakeFlusherForIndexes()
	c.s.o.Logger.Info("scrub ended", "bytes", ended.LastBytes, "damaged_ranges", ended.LastDamage)
}

func (c *scrubber) change(change func(*ScrubState)) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	change(&c.now)
}

// total returns how long all segments are together.
func (c *scrubber) total() (all int64) {
	for _, r := range c.s.replicas() {
		all += r.log.Bytes()
	}
	return all
}

// pass goes on with the pass that is under way.
func (c *scrubber) pass() error {
	for _, r := range c.s.replicas() {
		st := c.s.ScrubState()
		if p := r.Now.Partition; p < st.Partition {
			continue
		} else if p > st.Partition {
			c.change(func(st *ScrubState) { st.Partition, st.Next = p, 0 })
		}
		if err := c.replica(r); err != nil {
			return fmt.Errorf("partition %d: %w", r.Now.Partition, err)
		}
	}
	return nil
}

func (c *scrubber) replica(r *replica) error {
	c.s.mu.Lock()
	from, held := c.now.Next, r.NextService < partition.Unassigned
	c.s.mu.Unlock()
	if !held {
		return nil
	}
	return c.s.scrubReplica(c.s.ctx, r, segment.Pass{
		From: from, Pace: c.pace,
		Found: func(error) {
			c.damaged.Add(1)
			c.change(func(st *ScrubState) { st.Damage++ })
		},
		Passed: func(next txn.ID, _, bytes int64) {
			c.bytes.Add(bytes)
			c.change(func(st *ScrubState) { st.Next, st.Bytes = next, st.Bytes+bytes })
			c.save()
		},
	})
}

// pace waits before a read.
func (c *scrubber) pace(bytes int) error {
	took := time.Duration(float64(bytes) / float64(c.s.o.ScrubBytesPerSecond) * float64(time.Second))
	wait := time.Until(c.next)
	for waited := time.Duration(0); ; waited += wait {
		if wait > 0 && !c.s.pause(c.s.ctx, wait) {
			return ErrClosed
		}
		if waited >= scrubPatience*took || !c.s.busy() {
			break
		}
		wait = max(took/4, time.Millisecond)
	}
	c.next = time.Now().Add(took)
	return nil
}

// busy reports whether the journal is being written.
func (s *Storage) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.mu.idle
}

// The file "scrub", little endian:
//
//	offset size
//	     0    8  magic "WALTZSCR"
//	     8    8  1 while a pass runs, else 0
//	    16    8  partition that it is at
//	    24    8  record that it goes on at
//	    32    8  bytes read
//	    40    8  damaged ranges found
//	    48    8  when it began, µs since 1970
//	    56    8  when the last pass ended, 0: none has
//	    64    8  bytes read in it
//	    72    8  damaged ranges found in it
//	    80    8  from when on the interval to the next pass counts
//	    88    8  CRC-32C of bytes 0..88
const (
	scrubName  = "scrub"
	scrubMagic = "WALTZSCR"
	scrubSize  = 96
)

func (c *scrubber) encode() []byte {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	st := &c.now
	running := int64(0)
	if st.Running {
		running = 1
	}
	b := append(make([]byte, 0, scrubSize), scrubMagic...)
	for _, v := range []int64{
		running, int64(st.Partition), int64(st.Next), st.Bytes, int64(st.Damage), micros(st.Began),
		micros(st.LastEnded), st.LastBytes, int64(st.LastDamage), micros(c.since),
	} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return binary.LittleEndian.AppendUint64(b, uint64(record.Checksum(b)))
}

func (c *scrubber) decode(b []byte) bool {
	le := binary.LittleEndian
	if len(b) != scrubSize || string(b[:8]) != scrubMagic || le.Uint64(b[88:]) != uint64(record.Checksum(b[:88])) {
		return false
	}
	field := func(i int) int64 { return int64(le.Uint64(b[8*i:])) }
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.now = ScrubState{
		Running: field(1) == 1, Partition: txn.Partition(field(2)), Next: txn.ID(field(3)), Bytes: field(4), Damage: int(field(5)),
		Began: ofMicros(field(6)), LastEnded: ofMicros(field(7)), LastBytes: field(8), LastDamage: int(field(9)),
	}
	c.since = ofMicros(field(10))
	return true
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func ofMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n)
}

// load reads where an earlier process was. A new storage has nothing to scrub
// yet: its first pass begins an interval on.
func (c *scrubber) load() {
	b := make([]byte, scrubSize)
	f, err := c.s.o.FS.Open(path.Join(c.s.o.Dir, scrubName))
	if err == nil {
		n, _ := f.ReadAt(b, 0)
		_ = f.Close() // only read
		if c.decode(b[:n]) {
			total := c.total()
			c.change(func(st *ScrubState) { st.Total = total })
			return
		}
	}
	c.s.mu.Lock()
	c.since = time.Now()
	c.s.mu.Unlock()
	c.save()
}

// save remembers where the scrub is. Not being able to does no harm.
func (c *scrubber) save() {
	if err := c.write(path.Join(c.s.o.Dir, scrubName), c.encode()); err != nil {
		c.s.o.Logger.Debug("place of the scrub not saved", "error", err)
	}
}

func (c *scrubber) write(name string, b []byte) error {
	fsys := c.s.o.FS
	if err := fsys.Remove(name + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := fsys.Create(name + ".tmp")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fsys.Rename(name+".tmp", name)
}
