package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// Replica is a storage's replicas as a server reaches them: in the same process
// or over the network. All methods may be called concurrently; refusals are
// *[session.RefusedError].
type Replica interface {
	// Open makes the promise of a session durable and answers with the state.
	Open(ctx context.Context, m session.Open) (session.Promise, error)
	// Truncate drops records that are not in the chosen log; durable on return.
	Truncate(ctx context.Context, m session.Truncate) error
	// Copy adds records of the chosen log; durable on return.
	Copy(ctx context.Context, m session.Copy) error
	// Install makes the replica one of the session; durable on return.
	Install(ctx context.Context, m session.Install) error
	// Append queues new records and returns. done is called when they are durable,
	// in the order of the calls for one partition, and must not block; after an
	// error from Append it is not called. The frame is not changed until then.
	// [session.ErrFull] says that nothing was changed and that the same message may
	// come again later; any other error fails the replica.
	Append(ctx context.Context, m session.Append, done func(session.Appended, error)) error
	// Confirm returns nil if the replica has installed the session and promised no
	// higher one when it was asked. It writes nothing and waits for no disk.
	Confirm(ctx context.Context, m session.Confirm) error
	// Read returns whole records from first on, at most to last, at least one and
	// as many more as fit into bytesMax.
	Read(ctx context.Context, p txn.Partition, first, last txn.ID, bytesMax int) (record.Frame, error)
	// At returns the ID of the first record with at least the timestamp, the last
	// ID + 1 if there is none.
	At(ctx context.Context, p txn.Partition, t txn.Timestamp) (txn.ID, error)
}

// Fuller is what a Replica may be besides, to tell of a full disk while no append
// is tried. It may be called concurrently and must not block.
type Fuller interface {
	// Full returns a [session.ErrFull] while appends that were taken wait for room,
	// else nil.
	Full() error
}

// Trier is what a Replica is besides if its Append may wait for room.
type Trier interface {
	// TryAppend is Append that returns [session.ErrBusy] rather than wait.
	TryAppend(m session.Append, done func(session.Appended, error)) error
}

// Events are the calls that a session makes.
type Events struct {
	// Committed says that everything up to id is committed. Calls come in order,
	// one at a time, on whatever goroutine heard of it first; they must not block
	// and must not call the session's Close. Nil: nobody is told.
	Committed func(id txn.ID)
}

// FindFunc finds a storage by its name in the metadata; false: it is not known. It
// may be called concurrently and must not block.
type FindFunc func(storage string) (Replica, bool)

// Config says which partition's session to open, and where its replicas are.
type Config struct {
	Partition  txn.Partition
	Generation int64              // of the partition's assignment to this server
	Metadata   metadata.Store     // required
	Replicas   map[string]Replica // by the storage's name in the metadata; required
	Find       FindFunc           // of the others; default: there are no others
	Prepared   []string           // the target that the session before was Prepared for; nil: none, the members stay
	Events     Events             //
	Logger     *slog.Logger       // default: none
	Backoff    time.Duration      // before a failed replica is tried again, doubled each time; default 50 ms
	BackoffMax time.Duration      // the most that it becomes; default 1 s, at least Backoff
	QueueMax   int                // bytes that wait to be committed before Append blocks; default 64 MiB, at least 1 MiB
	RetryFull  time.Duration      // before a replica on a full disk is tried again; default 250 ms
	LostMax    time.Duration      // how long a session lasts without a majority of members; default 0: not at all
	CopyMax    int                // bytes of one message while a replica catches up; default 1 MiB
	LinkMax    int                // bytes sent to a replica and unanswered before it is caught up instead; default 4 MiB

	AnswerMax    time.Duration // a replica that answers nothing for so long has failed; default 5 s
	ReadMax      time.Duration // a read that takes so long is made from another replica; default 1 s
	HandOverMax  time.Duration // how long Close waits for the slower replicas to have all; default 500 ms
	HealEvery    time.Duration // how often replicas are asked for damage that others can repair; default 1 min, negative: never
	ConfirmEvery time.Duration // a session that commits nothing for so long asks whether it is the latest; default 1 s

	claims int // attempts in one Open; tests set it
}

const (
	backoffDefault   = 50 * time.Millisecond
	backoffMax       = time.Second
	retryFullDefault = 250 * time.Millisecond
	queueDefault     = 64 << 20
	queueMin         = 1 << 20
	copyDefault      = 1 << 20
	claimsDefault    = 100
	linkDefault      = 4 << 20
	answerDefault    = 5 * time.Second
	readDefault      = time.Second
	handOverDefault  = 500 * time.Millisecond
	confirmDefault   = time.Second
	healDefault      = time.Minute
)

func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Metadata == nil {
		errs = append(errs, errors.New("metadata is not set"))
	}
	if len(c.Replicas) == 0 && c.Find == nil {
		errs = append(errs, errors.New("there are no replicas"))
	}
	if c.Partition < 0 {
		errs = append(errs, fmt.Errorf("partition is %d", c.Partition))
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Logger = c.Logger.With("partition", int(c.Partition))
	c.Backoff = positive(c.Backoff, backoffDefault)
	c.BackoffMax = max(positive(c.BackoffMax, backoffMax), c.Backoff)
	c.LinkMax = positive(c.LinkMax, linkDefault)
	c.AnswerMax = positive(c.AnswerMax, answerDefault)
	c.ReadMax = positive(c.ReadMax, readDefault)
	c.HandOverMax = positive(c.HandOverMax, handOverDefault)
	c.ConfirmEvery = positive(c.ConfirmEvery, confirmDefault)
	if c.HealEvery == 0 {
		c.HealEvery = healDefault
	}
	c.RetryFull = positive(c.RetryFull, retryFullDefault)
	c.CopyMax = positive(c.CopyMax, copyDefault)
	c.claims = positive(c.claims, claimsDefault)
	if c.QueueMax = positive(c.QueueMax, queueDefault); c.QueueMax < queueMin {
		errs = append(errs, fmt.Errorf("queue of %d bytes is below %d", c.QueueMax, queueMin))
	}
	return c, errors.Join(errs...)
}

func positive[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}
