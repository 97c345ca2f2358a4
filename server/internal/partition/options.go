package partition

import (
	"log/slog"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/server/internal/feed"
)

// Options of a partition. The server fills and validates them.
type Options struct {
	Partition txn.Partition
	Open      OpenFunc
	Tail      *feed.Tail // where committed frames are published
	Logger    *slog.Logger
	Now       func() time.Time

	DataBytesMax int // of one transaction
	LocksMax     int // of one transaction

	InboxBytesMax    int // groups that wait to be sequenced; Submit waits while it is full
	InFlightBytesMax int // frames that wait to be committed; the inbox waits while it is full
	FrameBytesMax    int // of one frame, unless a single record is larger

	WindowTransactions int // remembered request IDs and transactions with locks, a power of two
	LockMarksMax       int // remembered locks

	SearchAttemptsMax int // old resends that wait for the log to be searched; more are refused
	SearchBytesMax    int // data of those

	StallMax time.Duration // of a session, before what is in flight is answered with that

	ReopenFirst, ReopenMax time.Duration // back-off between attempts to open a session
	ReopenDamaged          time.Duration // between attempts that damage makes fail
}

// Answerer takes the answers to the attempts of a client's stream. Both methods
// are called from any goroutine and must not block.
type Answerer interface {
	// Committed says that attempts c.FirstSeq and up have been committed.
	Committed(c wire.Committed)
	// Refused says that an attempt was not committed, and why.
	Refused(seq uint64, why wire.Error)
}

// Group is attempts of one partition, in the order in which they were sent.
type Group struct {
	From     Answerer
	Attempts []wire.Attempt
	Owner    *wire.AppendGroup // released when the attempts have been copied; nil: nothing to release

	searchedBefore txn.ID // the log was searched for them below this ID
	weight         int64  // what it takes of the inbox
	encoded        int    // bytes of its records, at most
}

// size fills in what the group takes of the inbox and of a frame.
func (g *Group) size(weightMax int64) {
	g.weight, g.encoded = 0, 0
	for i := range g.Attempts {
		a := &g.Attempts[i]
		n := record.Size(len(a.Locks)+min(len(a.Key), 1), len(a.Key), len(a.Data)) // a key is a lock, too
		g.encoded += n
		g.weight += int64(n + attemptOverhead)
	}
	g.weight = min(g.weight, weightMax)
}

func (g *Group) refuse(why wire.Error) {
	for i := range g.Attempts {
		g.From.Refused(g.Attempts[i].Seq, why)
	}
}

func (g *Group) release() {
	if g.Owner != nil {
		g.Owner.Release()
	}
}

// attemptOverhead is what an attempt takes of the inbox besides its bytes.
const attemptOverhead = 128
