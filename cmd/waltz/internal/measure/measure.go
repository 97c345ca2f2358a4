// Package measure takes the readings that stand beside a benchmark's own: how
// long the disk takes to flush, how often it did, and how much CPU a process
// used. Linux only where it reads the kernel's files; elsewhere those readings
// are reported as not to be had.
package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	blockBytes = 4 << 10
	// FlushesMeasured is how many flushes one median is of.
	FlushesMeasured = 2000
)

// FlushTimes are the times of single flushes, in the order they were made.
type FlushTimes []time.Duration

// Median returns the middle of the times, 0 if there are none.
func (f FlushTimes) Median() time.Duration {
	if len(f) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(f))
	return sorted[len(sorted)/2]
}

// Flushes writes n blocks of 4 KiB, each at the next offset of a new file in
// dir and followed by fdatasync, by one writer, and times each pair. A
// zero-filled file has its blocks before the first write, a growing one gets
// them with each. The file is removed.
func Flushes(dir string, n int, zeroFilled bool) (times FlushTimes, err error) {
	f, err := os.CreateTemp(dir, "waltz-bench-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("measure flushes: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if zeroFilled {
		if err := fillZero(f, n*blockBytes); err != nil {
			return nil, fmt.Errorf("measure flushes: zero-fill: %w", err)
		}
	}
	block := make([]byte, blockBytes)
	for i := range block {
		block[i] = byte(i*7 + 1)
	}
	for i := range n {
		start := time.Now()
		if _, err := f.WriteAt(block, int64(i)*blockBytes); err != nil {
			return nil, fmt.Errorf("measure flushes: %w", err)
		}
		if err := datasync(f); err != nil {
			return nil, fmt.Errorf("measure flushes: fdatasync %s: %w", filepath.Base(f.Name()), err)
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

func fillZero(f *os.File, size int) error {
	zero := make([]byte, min(size, 1<<20))
	for off := 0; off < size; off += len(zero) {
		if _, err := f.WriteAt(zero[:min(len(zero), size-off)], int64(off)); err != nil {
			return err
		}
	}
	return f.Sync()
}
