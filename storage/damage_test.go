package storage_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

const (
	block   = 4096
	dataDir = "/data/storage"
)

// sample is a storage that was killed: old records in segments, new ones in the
// journal only, two partitions.
type sample struct {
	fs    *vfs.Mem
	want  map[txn.Partition]record.Frame
	state map[txn.Partition]session.Promise
}

func newSample(t testing.TB) sample {
	t.Helper()
	fsys := vfs.NewMem()
	o := small(fsys)
	o.JournalFileBytes, o.SegmentBytes = 16<<10, 4<<10
	s := open(t, o)
	x := sample{want: map[txn.Partition]record.Frame{}, state: map[txn.Partition]session.Promise{}}
	for p := range txn.Partition(2) {
		m := join(t, s, p, 1)
		for range 6 {
			x.want[p] = append(x.want[p], m.append(3, 300)...)
		}
	}
	require.NoError(t, s.Close()) // everything into segments
	o.FlushBytes, o.JournalFileBytes = 1<<20, 128<<10
	s = open(t, o)
	// Behind the first checkpoint nothing more goes into segments, since one journal
	// file is enough: what is there and not synced is written again from the journal, so
	// a flipped bit of it means nothing.
	require.Eventually(t, func() bool { return s.Stats().Checkpoints > 0 }, time.Minute, time.Millisecond)
	for p := range txn.Partition(2) {
		m := join(t, s, p, 2)
		x.want[p] = append(x.want[p], m.append(2, 100)...)
		x.want[p] = append(x.want[p], m.append(1, 300)...)
		st, err := s.State(p)
		require.NoError(t, err)
		x.state[p] = st
	}
	x.fs = fsys.Clone()
	require.EqualValues(t, 1, s.Stats().Checkpoints)
	require.NoError(t, s.Close())
	return x
}

func (x sample) options(fsys *vfs.Mem) storage.Options {
	o := small(fsys)
	o.JournalFileBytes, o.SegmentBytes = 16<<10, 4<<10
	return o
}

// Every byte of the journal, the segments, the indexes and the small files is
// flipped, one at a time. Whatever it is, what the storage serves is what was
// written or an error that says where; and if anything is refused, or a
// checksum was wrong, it says so. Padding of zeros is sampled in the short form.
func TestEveryByteFlipped(t *testing.T) {
	x := newSample(t)
	type flip struct {
		name string
		off  int64
	}
	flips := make(chan flip, 256)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for f := range flips {
				checkFlip(t, x, f.name, f.off)
			}
		})
	}
	n := 0
	for _, name := range allFiles(t, x.fs, dataDir) {
		b, err := x.fs.Bytes(name)
		require.NoError(t, err)
		used := usedBytes(name, b)
		for off := range used {
			if padding(b, off) && off%61 != 0 && !soak() {
				continue
			}
			flips <- flip{name, int64(off)}
			n++
		}
	}
	close(flips)
	wg.Wait()
	t.Logf("%d bytes flipped", n)
}

// padding reports whether a byte lies deep inside zeros.
func padding(b []byte, off int) bool {
	from, to := max(off-16, 0), min(off+16, len(b))
	return len(bytes.Trim(b[from:to], "\x00")) == 0
}

// usedBytes returns how much of a file means anything: a journal file ends with
// blocks that were only prepared.
func usedBytes(name string, b []byte) int {
	switch path.Base(name) {
	case "fill.tmp", "scrub": // not in use; a hint, which is done without if it is damaged
		return 0
	}
	if !strings.HasSuffix(name, ".journal") {
		return len(b)
	}
	number := binary.LittleEndian.Uint64(b[16:])
	off := block
	for off+48 <= len(b) && string(b[off:off+4]) == "WGRP" && binary.LittleEndian.Uint64(b[off+16:]) == number {
		off += int(binary.LittleEndian.Uint32(b[off+8:]))
	}
	if off == block {
		return 0 // prepared, not begun
	}
	return off
}

func allFiles(t testing.TB, fsys *vfs.Mem, dir string) []string {
	t.Helper()
	names, err := fsys.List(dir)
	require.NoError(t, err)
	var all []string
	for _, base := range names {
		name := path.Join(dir, base)
		if info, err := fsys.Stat(name); err == nil && info.IsDir() {
			all = append(all, allFiles(t, fsys, name)...)
		} else {
			all = append(all, name)
		}
	}
	return all
}

func checkFlip(t *testing.T, x sample, name string, off int64) {
	where := fmt.Sprintf("%s at %d", name, off)
	fsys := x.fs.Clone()
	if err := fsys.Flip(name, off, 1<<(off%8)); err != nil {
		t.Error(where, err)
		return
	}
	s, err := storage.Open(context.Background(), x.options(fsys))
	if path.Base(name) == "storage" {
		if err == nil {
			t.Errorf("%s: opened", where)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return
	}
	refused := false
	for p, want := range x.want {
		if why := checkServed(s, p, want, x.state[p], &refused); why != "" {
			t.Errorf("%s: partition %d: %s", where, p, why)
		}
	}
	report, err := s.Scrub(context.Background())
	if err != nil {
		t.Error(where, err)
	}
	if len(report.Damage) == 0 {
		t.Errorf("%s: not found (refused: %v)", where, refused)
	}
	if err := s.Close(); err != nil {
		t.Error(where, err)
	}
}

// checkServed reads a partition record by record, and says what is wrong.
func checkServed(s *storage.Storage, p txn.Partition, want record.Frame, state session.Promise, refused *bool) string {
	ctx := context.Background()
	closed := false
	for _, info := range s.Replicas() {
		closed = closed || info.Partition == p && info.Closed != nil
	}
	got, err := s.State(p)
	if err != nil {
		return err.Error()
	}
	got.Replica.Start = state.Replica.Start
	if !closed && fmt.Sprint(got) != fmt.Sprint(state) {
		return fmt.Sprintf("is %+v, was %+v, and takes messages", got, state)
	}
	for rec := range want.Trusted() {
		f, err := s.Read(ctx, p, rec.ID, rec.ID, 1)
		var damaged *storage.DamagedError
		switch {
		case err == nil:
			if !bytes.Equal(f, want[:f.TrustedLen()]) {
				return fmt.Sprintf("serves other bytes for %d", rec.ID)
			}
		case errors.As(err, &damaged):
			*refused = true
		default:
			return err.Error()
		}
		want = want[want.TrustedLen():]
	}
	return ""
}
