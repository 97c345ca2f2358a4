package applier

import (
	"context"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Database is what an applier needs of one SQL database with the framework's
// tables in it. Tx is the handle that handlers write with, S the one that
// snapshots are read with. All methods may be called concurrently, Apply for
// different partitions only. Context ends are errors like any other.
type Database[Tx, S any] interface {
	Letters

	// Load returns the rows of a view, by partition, having inserted those that are
	// missing, with mark -1 and epoch 0, in one SQL transaction that is durable on
	// return. If a row of the view names another log, it returns the rows as they
	// are and inserts nothing. Instances may race.
	Load(ctx context.Context, v Identity, partitions int) ([]Row, error)

	// Read returns one row as it is now.
	Read(ctx context.Context, r Ref) (Row, error)

	// Apply does one step in one SQL transaction, in this order: compare-and-set of
	// the row from Old and Epoch to New (with Lease > 0 it also extends the lease);
	// Work with a handle on the transaction; the keys; the letters; COMMIT. On
	// nil the step is durable, as far as the database's settings promise it.
	// [ErrLost]: the compare-and-set matched nothing, Work was not called, or its
	// effects are gone. An error of class ClassUnknown: COMMIT was sent, and its
	// outcome is not known. Any other error: nothing of the step is in the database.
	//
	// A step with Retried is another one: it compares Epoch only and raises it by
	// one, leaves mark, owner, lease and meaning as they are, and deletes the letters named
	// ([ErrLost] unless every one is there and held or asked for) before Work. So it
	// can't be starved by a mark that moves, and whoever has an old idea of the
	// letters is fenced.
	//
	// Several steps may share one SQL transaction, if an error of one does not
	// touch the others. Where statements are sent before answers are waited for,
	// the compare-and-set's answer must be known before COMMIT is sent (a pgx
	// batch with a CAS that matched no row commits the rest).
	Apply(ctx context.Context, s *Step[Tx]) error

	// Snapshot calls read once with a handle on one consistent, read-only state, and
	// the row's mark in that state, which was its first read. The handle ends with
	// the call. read's error is returned as it is.
	Snapshot(ctx context.Context, r Ref, read func(ctx context.Context, s S, mark waltz.ID) error) error

	// Key returns the transaction that carried a key, as a snapshot shows it.
	Key(ctx context.Context, s S, r Ref, key string) (id waltz.ID, found bool, err error)

	// Acquire takes or extends the lease of a row for owner, if it has no
	// other owner or the owner's lease has run out by the database's clock. Taking it
	// from another raises the epoch, which fences the other. It returns the row
	// as it then is, and whether the lease is owner's.
	Acquire(ctx context.Context, r Ref, owner string, d time.Duration) (Row, bool, error)

	// Note stores a state and error code beside the mark, for whoever looks at
	// the database, if the epoch is still the same.
	Note(ctx context.Context, r Ref, epoch int64, state, code string) error

	// DeadSince counts the letters of a view, all partitions, with one attempt that is
	// not older than d by the database's clock: held ones have none, and those that
	// were retried in vain are no news.
	DeadSince(ctx context.Context, v Identity, d time.Duration) (int, error)

	// Fault classifies an error that any method or handle returned, with what the
	// database says about it; false if the database didn't make it.
	Fault(err error) (Fault, bool)

	// Failed notes that a letter that is held or asked for could not be applied: it
	// becomes dead with the Class, Code, Text and Instance given, one more attempt,
	// and the time of the database. It changes nothing if there is no such letter.
	// [ErrLost]: the row's epoch, which is compared first in the same SQL transaction
	// and stays, is another; somebody may have asked for one more try.
	Failed(ctx context.Context, r Ref, epoch int64, l Letter) error
}

// KeyedDatabase is a Database that can look a key up as a snapshot begins.
type KeyedDatabase[S any] interface {
	// SnapshotFor is Snapshot for a reader whose first question is Key, of the same row
	// and with this key.
	SnapshotFor(ctx context.Context, r Ref, key string, read func(ctx context.Context, s S, mark waltz.ID) error) error
}

// Identity is what a view's rows are found by, and the log that it is made from.
type Identity struct {
	Name    string
	Version int
	LogID   string
}

// Ref finds one row: Number is a short name that the database gives it.
type Ref struct {
	Identity
	Number    int64
	Partition waltz.Partition
}

// Row is the state of a partition of a view in its database.
type Row struct {
	Ref                    // LogID is the row's own
	HighWaterMark waltz.ID // transactions up to it are in the view, exactly
	Epoch         int64    // raised to fence whoever held the row
	Owner         string   // who applied last, or has the lease
	Dead          int      // letters that are open: dead, asked for, or held
	Held          int      // those of them that are held
	FirstDead     waltz.ID // the first that is open: the view is incomplete from there; -1 if none
	Skipped       int64    // transactions that [Skip] has passed, ever
	Meaning       string   // what the handlers meant that applied last: see Options
}

// Step is one move of a mark, with everything that belongs to it.
type Step[Tx any] struct {
	Ref
	Old, New     waltz.ID
	Epoch        int64
	Owner        string
	Lease        time.Duration // 0: none
	Transactions int           // how many have effects
	Skipped      int           // how many [Skip] passes
	Meaning      string        // to be stored
	Work         func(ctx context.Context, tx Tx) error
	Keys         []Key       // ascending by ID; the first ID of a key wins
	Letters      []Letter    // ascending by ID, to be inserted; those in state dead count in the row's dead
	Retried      []waltz.ID  // ascending: the letters that Work applies; nil in a step that moves the mark
	Reached      func(Stage) // to be called at each stage, except nil
}

// Dead counts the letters of the step that are dead.
func (s *Step[Tx]) Dead() int {
	n := 0
	for i := range s.Letters {
		if s.Letters[i].State == LetterDead {
			n++
		}
	}
	return n
}

// Key is a business key and the transaction that carried it.
type Key struct {
	Key string
	ID  waltz.ID
}

// Stage is a point in the life of a step where a crash is interesting.
type Stage int

// The stages, in order. StageStatement comes after each statement of a handler.
const (
	StageMarked Stage = iota // after the compare-and-set
	StageStatement
	StageWorked    // before COMMIT
	StageCommitted // after COMMIT, before anyone is told
)
