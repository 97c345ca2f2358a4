package history

import (
	"bytes"
	"math"

	"github.com/waltz-log/waltz/internal/txn"
)

// Pending is the time of a return that was never seen: the caller was killed,
// or gave up waiting.
const Pending = math.MaxInt64

// Outcome is how an append ended for its caller (I8).
type Outcome string

// The outcomes of an append.
const (
	Unknown   Outcome = ""          // the caller never learned it
	Committed Outcome = "committed" // Op.ID is the transaction's own
	Conflict  Outcome = "conflict"  // Op.ID is the cause
	Stale     Outcome = "stale"     // Op.ID is the floor
	Refused   Outcome = "refused"   // not committed, for a reason that was not recorded
)

// Op is one attempt to append, as its caller saw it.
type Op struct {
	Client    string        // who called, for messages
	Name      string        // unique in the history, and the first line of Data
	Partition txn.Partition // appended to
	Header    txn.Header
	Data      []byte
	Key       string     // business key, "" if none: a write lock of its own
	Locks     []txn.Lock // as taken
	Mark      txn.ID     // client high-water mark
	Invoked   int64      // when the call began
	Returned  int64      // when it ended, or Pending
	Outcome   Outcome
	ID        txn.ID // see Outcome
}

// Entry is one transaction of the log, as somebody read it.
type Entry struct {
	ID      txn.ID
	Header  txn.Header
	Time    txn.Timestamp
	Key     string
	Data    []byte
	Skipped bool // the feed was asked to leave the data out
}

// Feed is what one subscriber of a partition was given.
type Feed struct {
	Client        string
	Partition     txn.Partition
	Mark          txn.ID       // where it started
	Headers       []txn.Header // whose data it wanted; nil: of all
	Entries       []Entry      // in the order of their arrival; skipped ones may be left out
	HighWaterMark txn.ID       // where it ended
}

// Look is one question for a partition's high-water mark, and its answer.
type Look struct {
	Client    string
	Partition txn.Partition
	Invoked   int64
	Returned  int64
	Mark      txn.ID
}

// History is everything that was seen of a log.
type History struct {
	Ops   []Op
	Feeds []Feed
	Looks []Look
	Logs  map[txn.Partition][]Entry // each partition from the start, read when all had ended
	// WindowMin is how many transactions the locks are remembered for at least:
	// no answer of stale may name a floor nearer to the end of the log.
	WindowMin int
}

// NameOf returns the name of the op whose data this is: its first line.
func NameOf(data []byte) string {
	name, _, _ := bytes.Cut(data, []byte("\n"))
	return string(name)
}

// lock is a lock of either kind: taken by the application, or a business key.
type lock struct {
	hash txn.LockHash
	key  string
}

// checks and marks list the locks that o looks at and those that it leaves a mark on.
func (o *Op) checks() []lock { return o.locks(txn.LockMode.Checks) }
func (o *Op) marks() []lock  { return o.locks(txn.LockMode.Marks) }

func (o *Op) locks(take func(txn.LockMode) bool) []lock {
	var out []lock
	if o.Key != "" {
		out = append(out, lock{key: o.Key})
	}
	for _, l := range o.Locks {
		if take(l.Mode) {
			out = append(out, lock{hash: l.Hash})
		}
	}
	return out
}
