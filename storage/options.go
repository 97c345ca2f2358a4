package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage/internal/header"
	"github.com/waltz-log/waltz/storage/internal/journal"
)

// Options says where a storage is and how much it may use. Only Dir and
// ClusterKey are required. What defines bytes on disk is not here.
type Options struct {
	// Dir is the storage's folder; it is made if it is not there. Required.
	Dir string
	// FS is the file system. Default: the operating system's.
	FS vfs.FS
	// ClusterKey is the identity of the cluster, 1 to 64 bytes. A folder of another
	// one is refused. Required.
	ClusterKey string
	// Logger gets one line for each change of state. Default: none.
	Logger *slog.Logger
	// JournalFileBytes is the size of a journal file, which is filled with zeros
	// ahead of its use; two of them are there at any time. Default 64 MiB; at least
	// 16 KiB; rounded up to a multiple of 4 KiB. May change from start to start.
	JournalFileBytes int64
	// JournalFilesMax is how many journal files may wait for a checkpoint before
	// appends wait. Default 8; at least 2.
	JournalFilesMax int
	// SegmentBytes is the size from which on a partition's next segment file
	// begins. Default 64 MiB; at least 4 KiB.
	SegmentBytes int64
	// QueueBytes is how much may wait for the journal before Append waits. Default
	// 16 MiB; at least 64 KiB.
	QueueBytes int
	// FlushBytes is how much may gather in memory before it is written to segments.
	// Default 4 MiB; at least 4 KiB.
	FlushBytes int
	// BacklogBytes is how much may wait in memory for the segments before Append
	// waits or, if the disk is full, is refused. Default 64 MiB; at least FlushBytes.
	BacklogBytes int
	// OpenFilesMax is how many files are kept open for reading. Default 256; at
	// least 4.
	OpenFilesMax int
	// BulkReads is how many reads of 128 KiB and more, as of replicas and subscribers
	// that catch up, are made at the same time; others wait. Default half of the
	// processors, at least 1.
	BulkReads int
	// ScrubBytesPerSecond is how fast the background scrub reads, when the disk has
	// nothing else to do; while appends come without a pause, at a sixteenth of it.
	// Default 8 MiB; at least 64 KiB; negative: there is no background scrub.
	ScrubBytesPerSecond int64
	// ScrubInterval is how long it rests between two passes. Default 24 h; at least
	// 1 s.
	ScrubInterval time.Duration
	// RetryInterval is how long a full disk is left alone before it is tried again.
	// Default 250 ms.
	RetryInterval time.Duration
	// Events are called when something happens.
	Events Events
}

// Events are calls that a storage makes, for metrics. They must not block. Nil
// ones are not made.
type Events struct {
	// Committed is called for each group that was synced: how long the sync took,
	// how many bytes and appends it had. On the journal's goroutine.
	Committed func(sync time.Duration, bytes, appends int)
	// Damaged is called for damage when it is first seen.
	Damaged func(*DamagedError)
}

func (o Options) withDefaults() (Options, error) {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("Dir is not set"))
	}
	if n := len(o.ClusterKey); n == 0 || n > header.ClusterMax {
		errs = append(errs, fmt.Errorf("ClusterKey has %d bytes, want 1 to %d", n, header.ClusterMax))
	}
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	bound(&errs, "JournalFileBytes", &o.JournalFileBytes, 64<<20, 4*journal.Block)
	o.JournalFileBytes = (o.JournalFileBytes + journal.Block - 1) &^ (journal.Block - 1)
	bound(&errs, "JournalFilesMax", &o.JournalFilesMax, 8, 2)
	bound(&errs, "SegmentBytes", &o.SegmentBytes, 64<<20, 4<<10)
	bound(&errs, "QueueBytes", &o.QueueBytes, 16<<20, 64<<10)
	bound(&errs, "FlushBytes", &o.FlushBytes, 4<<20, 4<<10)
	bound(&errs, "BacklogBytes", &o.BacklogBytes, max(64<<20, o.FlushBytes), o.FlushBytes)
	bound(&errs, "OpenFilesMax", &o.OpenFilesMax, 256, 4)
	bound(&errs, "BulkReads", &o.BulkReads, max(runtime.GOMAXPROCS(0)/2, 1), 1)
	if o.ScrubBytesPerSecond >= 0 {
		bound(&errs, "ScrubBytesPerSecond", &o.ScrubBytesPerSecond, 8<<20, 64<<10)
	}
	bound(&errs, "ScrubInterval", &o.ScrubInterval, 24*time.Hour, time.Second)
	bound(&errs, "RetryInterval", &o.RetryInterval, 250*time.Millisecond, time.Millisecond)
	if err := errors.Join(errs...); err != nil {
		return o, fmt.Errorf("storage options: %w", err)
	}
	return o, nil
}

// bound fills in a default for zero and reports what is below the least value.
func bound[T int | int64 | time.Duration](errs *[]error, name string, v *T, otherwise, least T) {
	if *v == 0 {
		*v = otherwise
	}
	if *v < least {
		*errs = append(*errs, fmt.Errorf("%s is %v, want at least %v", name, *v, least))
	}
}
