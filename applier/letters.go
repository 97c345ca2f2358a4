package applier

import (
	"context"
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Letters is what is needed of a database to operate dead letters without the
// application's handlers, as a command line has to. Every [Database] is one. All
// methods may be called concurrently.
type Letters interface {
	// Rows returns the rows of one view, or with name "" of all, by name, version and
	// partition.
	Rows(ctx context.Context, name string) ([]Row, error)

	// List returns letters of one partition, ascending by ID.
	List(ctx context.Context, r Ref, q LetterQuery) ([]Letter, error)

	// Ask marks the dead letters from first to last, both included, as asked for, and
	// returns how many, with those that are marked already. If there are any it raises the row's epoch in the same SQL
	// transaction: that is how an applier gets to know. The row is locked before the
	// letters, as in every step.
	Ask(ctx context.Context, r Ref, first, last waltz.ID, by string) (int, error)

	// Discard marks an open letter as discarded, and raises the row's epoch
	// likewise. It returns false if there is no such letter.
	Discard(ctx context.Context, r Ref, id waltz.ID, reason, by string) (bool, error)

	// Close ends everything. It is called once, when nothing else is under way.
	Close() error
}

// LetterQuery selects letters of a partition.
type LetterQuery struct {
	After     waltz.ID // only those with a higher ID
	Limit     int      // at most so many; 1 and up
	Data      bool     // with their data; else with its length only
	Discarded bool     // with those that were discarded
}

// LetterState is what is to become of a letter.
type LetterState string

// The states, as they stand in the database. All but the last are open: the view
// is incomplete.
const (
	LetterDead      LetterState = "dead"      // it could not be applied, and waits for somebody to decide
	LetterHeld      LetterState = "held"      // it waits behind another that changes the same
	LetterRetry     LetterState = "retry"     // an applier has been asked to try it again
	LetterDiscarded LetterState = "discarded" // it will never be applied
)

// Letter is a transaction that was passed without being applied, as it is kept.
type Letter struct {
	waltz.Committed
	State     LetterState
	Kind      string
	ViewKeys  string    // what it changes, encoded by the applier; "" if nobody said
	Class     string    // of the error; "" if it is held
	Code      string    // the database's
	Text      string    // the whole error, values and all
	Instance  string    // which passed it
	Attempts  int       // how often it was found wanting
	FailedAt  time.Time // by the database's clock, which sets it
	Reason    string    // why it was discarded
	ChangedBy string    // who asked for a retry, or discarded it
}
