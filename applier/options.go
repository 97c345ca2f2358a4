package applier

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// MigrateMode says what Open does about the framework's own tables.
type MigrateMode int

const (
	// MigrateAuto brings them up to date. Any number of instances may do so at once.
	MigrateAuto MigrateMode = iota
	// MigrateCheck refuses a schema that is not exactly the one that this version
	// of the module knows, and changes nothing.
	MigrateCheck
)

// Policy says what becomes of a transaction that can't be applied because of
// its data.
type Policy int

const (
	// Stop leaves the mark just before it, and Run returns a [*TransactionError].
	Stop Policy = iota
	// DeadLetter puts it into waltz_dead_letters, in the SQL transaction that moves
	// the mark past it. The view is incomplete from there on, and says so.
	DeadLetter
	// QuarantineKey is as DeadLetter, and what changes the same keys later (see
	// [Keyed]) queues up behind it in the table, so that nothing is ever applied out
	// of order. Other keys go on. After a retry the view is as if nothing had
	// happened.
	QuarantineKey
	// Skip counts it and keeps it nowhere: its effects are lost for good, but for the
	// log. It needs IKnowThisLosesData.
	Skip
)

// HA says how several instances share a view.
type HA int

const (
	// Race lets all instances try; the compare-and-set picks one each time. It is
	// the cheapest fail-over, and costs that every instance reads the log.
	Race HA = iota
	// Lease lets the instance try that has the partition's lease, by the database's
	// clock. The others read nothing. A lease may be wrong, the epoch is not.
	Lease
)

// UnknownHeaders says what becomes of transactions whose header has no handler.
type UnknownHeaders int

const (
	// SkipUnknown passes them: their data is not even sent.
	SkipUnknown UnknownHeaders = iota
	// StopUnknown takes one as a transaction that can't be applied. It also makes
	// the log send everything.
	StopUnknown
)

// Options of an applier. The zero value works, but for Name.
type Options struct {
	// Name of the view, which names its mark in the database. Required; up to 64
	// letters, digits, '.', '_' and '-'.
	Name string
	// Version of the view: another one starts from the beginning of the log with
	// a mark of its own. Default 1; 1 and up.
	Version int
	// Instance names this process in the database and in logs. Default: host, process
	// ID and a random number. At most 100 bytes.
	Instance string

	// Migrate says what to do about the framework's own tables. Default [MigrateAuto].
	Migrate MigrateMode
	// Policy for transactions that can't be applied because of their data. Default [Stop].
	Policy Policy
	// DeadMax is how many dead letters all partitions may produce within
	// DeadWindow; one more stops the view. Default 100.
	DeadMax int
	// DeadWindow is what DeadMax counts. Default 1h.
	DeadWindow time.Duration
	// IKnowThisLosesData is what [Skip] is refused without.
	IKnowThisLosesData bool
	// QuarantineMax bounds, for each partition, how many transactions are held with
	// [QuarantineKey], and how many keys they have in all; the view stops before one
	// more. It bounds memory, too: about 50 bytes for a key. Default 10000; 1 and up.
	QuarantineMax int
	// LettersEvery is how often a partition that is incomplete and has nothing else
	// to do looks whether somebody asked for a retry. Default 1s.
	LettersEvery time.Duration
	// Meaning names what the handlers mean, such as the release of the program, and
	// is stored beside the mark. When it is another one than the view was applied
	// with last, and the first transaction fails, the view stops whatever the
	// policy: it is the change that looks wrong, not the data. To pass that transaction
	// all the same, open once with the former Meaning. Default "": not told. At most
	// 100 bytes.
	Meaning string
	// UnknownHeaders says what to do with headers that have no handler. Default [SkipUnknown].
	UnknownHeaders UnknownHeaders
	// HA says how several instances share the view. Default [Race].
	HA HA
	// LeaseDuration is how long a lease lasts without a sign of life, with
	// HA [Lease]. Default 10s; 100ms and up.
	LeaseDuration time.Duration

	// BatchTransactionsMax bounds one SQL transaction. Default 5000; 1 and up.
	BatchTransactionsMax int
	// BatchBytesMax bounds the data of the transactions in one SQL transaction; a
	// larger one comes alone. Default 8 MiB; 1 and up. A partition holds at most
	// three times as much: in the database, decoded, and arrived.
	BatchBytesMax int

	// RetryMin and RetryMax bound the pauses before trouble of the database is tried again.
	// Default 50ms and 10s.
	RetryMin, RetryMax time.Duration
	// StopGrace is how long a batch that is under way when Run's context ends may
	// take to finish. Default 5s.
	StopGrace time.Duration

	// Logger gets one line for every change of state; never a value of a row.
	// Default: discards all.
	Logger *slog.Logger
	// Hooks are called upon events.
	Hooks Hooks
}

// filled returns the options with defaults, or all that is wrong with them.
func (o Options) filled() (Options, error) {
	setDefault(&o.Version, 1)
	setDefault(&o.Instance, instance())
	setDefault(&o.DeadMax, 100)
	setDefault(&o.DeadWindow, time.Hour)
	setDefault(&o.QuarantineMax, 10000)
	setDefault(&o.LettersEvery, time.Second)
	setDefault(&o.LeaseDuration, 10*time.Second)
	setDefault(&o.BatchTransactionsMax, 5000)
	setDefault(&o.BatchBytesMax, 8<<20)
	setDefault(&o.RetryMin, 50*time.Millisecond)
	setDefault(&o.RetryMax, 10*time.Second)
	setDefault(&o.StopGrace, 5*time.Second)
	setDefault(&o.Logger, slog.New(slog.DiscardHandler))
	return o, o.check()
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o *Options) check() error {
	var wrong []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	want(validName(o.Name), "name %q: want 1 to 64 letters, digits, '.', '_' or '-'", o.Name)
	want(o.Version >= 1 && o.Version <= 1<<30, "version %d: want 1 or more", o.Version)
	want(len(o.Instance) <= 100, "instance %q: want at most 100 bytes", o.Instance)
	want(o.Migrate == MigrateAuto || o.Migrate == MigrateCheck, "migrate %d: want MigrateAuto or MigrateCheck", o.Migrate)
	want(o.Policy >= Stop && o.Policy <= Skip, "policy %d: want Stop, DeadLetter, QuarantineKey or Skip", o.Policy)
	want(o.Policy != Skip || o.IKnowThisLosesData, "policy Skip loses data for good: want IKnowThisLosesData, or the policy DeadLetter")
	want(o.UnknownHeaders == SkipUnknown || o.UnknownHeaders == StopUnknown, "unknown headers %d: want SkipUnknown or StopUnknown", o.UnknownHeaders)
	want(o.HA == Race || o.HA == Lease, "ha %d: want Race or Lease", o.HA)
	want(o.DeadMax > 0, "dead letters %d: want at least 1", o.DeadMax)
	want(o.DeadWindow > 0, "dead letter window %s: want more than 0", o.DeadWindow)
	want(o.QuarantineMax > 0, "quarantine of %d: want at least 1", o.QuarantineMax)
	want(o.LettersEvery > 0, "letters every %s: want more than 0", o.LettersEvery)
	want(len(o.Meaning) <= 100, "meaning of %d bytes: want at most 100", len(o.Meaning))
	want(o.LeaseDuration >= 100*time.Millisecond, "lease %s: want at least 100ms", o.LeaseDuration)
	want(o.BatchTransactionsMax > 0, "batch of %d transactions: want at least 1", o.BatchTransactionsMax)
	want(o.BatchBytesMax > 0, "batch of %d bytes: want at least 1", o.BatchBytesMax)
	want(o.RetryMin > 0 && o.RetryMax >= o.RetryMin, "retry after %s to %s: want a range above 0", o.RetryMin, o.RetryMax)
	want(o.StopGrace > 0, "stop grace %s: want more than 0", o.StopGrace)
	if err := errors.Join(wrong...); err != nil {
		return fmt.Errorf("applier options: %w", err)
	}
	return nil
}

func validName(s string) bool {
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// instance makes a name that no other process has.
func instance() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "host"
	}
	return fmt.Sprintf("%.40s:%d:%s", host, os.Getpid(), rand.Text()[:8])
}
