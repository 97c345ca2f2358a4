package applier

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/waltz-log/waltz/applier/internal/guard"
	"github.com/waltz-log/waltz/waltz"
)

// Errors of calls.
var (
	// ErrRunning refuses a second Run at the same time.
	ErrRunning = errors.New("applier runs already")
	// ErrClosed ends what is called after Close.
	ErrClosed = errors.New("applier is closed")
	// ErrLost is what [Database.Apply] returns when the compare-and-set matched no
	// row: another instance was faster, or has fenced this one. Nothing was written.
	ErrLost = errors.New("high-water mark or epoch is not what it was")
)

// EscapeError refuses a statement or a use of its handle that would take the
// SQL transaction out of the framework's hands.
type EscapeError = guard.EscapeError

// PanicError is a handler's panic.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("handler panicked: %v", e.Value) }

// TransactionError says which transaction can't be applied, and stops the view.
type TransactionError struct {
	View      string
	Partition waltz.Partition
	ID        waltz.ID
	Header    waltz.Header
	Kind      string // the handler's, "" if there is none for the header
	Fault     Fault
	InARow    int  // this and the ones before that had the same error, if there are so many that it looks like wrong configuration
	First     bool // nothing was applied since Options.Meaning changed, which looks like wrong configuration
	Err       error
}

func (e *TransactionError) Error() string {
	kind := e.Kind
	if kind == "" {
		kind = "no kind"
	}
	row := ""
	if e.InARow > 0 {
		row = fmt.Sprintf("%d transactions in a row can't be applied, which looks like wrong configuration: ", e.InARow)
	}
	if e.First {
		row = "it is the first since the view's meaning changed, which looks like wrong configuration: "
	}
	return fmt.Sprintf("view %s: partition %d stopped before transaction %d (header %d, %s): %s%s",
		e.View, e.Partition, e.ID, e.Header, kind, row, cause(e.Fault, e.Err))
}

// cause says what happened, in the database's words where they are known to
// hold no values of rows.
func cause(f Fault, err error) string {
	switch {
	case f.Text != "":
		return fmt.Sprintf("%s error %s: %s", f.Class, f.Code, f.Text)
	case f.Code != "":
		return fmt.Sprintf("%s error %s: %v", f.Class, f.Code, err)
	}
	return fmt.Sprintf("%s error: %v", f.Class, err)
}

// Unwrap returns the cause.
func (e *TransactionError) Unwrap() error { return e.Err }

// LogValue leaves out the cause's own words, which may hold values.
func (e *TransactionError) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Int("partition", int(e.Partition)), slog.Int64("transaction_id", int64(e.ID)),
		slog.Int("header", int(e.Header)), slog.String("kind", e.Kind),
		slog.String("class", e.Fault.Class.String()), slog.String("code", e.Fault.Code), slog.String("text", e.Fault.Text),
	)
}

// GapError says that the log left out a transaction: the view stops before it.
type GapError struct {
	View      string
	Partition waltz.Partition
	After, ID waltz.ID // ID came after After
}

func (e *GapError) Error() string {
	return fmt.Sprintf("view %s: partition %d has a gap in its feed: transaction %d came after %d; nothing beyond %d was applied",
		e.View, e.Partition, e.ID, e.After, e.After)
}

// LogIdentityError says that the view was made from another log.
type LogIdentityError struct {
	View      string
	Partition waltz.Partition
	Want, Got string // Want is the view's, Got is the log's
}

func (e *LogIdentityError) Error() string {
	return fmt.Sprintf("view %s: partition %d was made from log %q, this is log %q: nothing was written; point it at the right log, or start a new version of the view",
		e.View, e.Partition, e.Want, e.Got)
}

// AheadError says that the view contains transactions that the log does not
// have: the log was restored from an older state.
type AheadError struct {
	View              string
	Partition         waltz.Partition
	ViewMark, LogMark waltz.ID
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("view %s: partition %d is at transaction %d, beyond the log's end at %d: nothing was written; the log has lost transactions, or the view belongs to a later state of it",
		e.View, e.Partition, e.ViewMark, e.LogMark)
}

// TooManyDeadError stops a view that produced too many dead letters.
type TooManyDeadError struct {
	View   string
	Dead   int
	Max    int
	Window time.Duration
	Err    error // the transaction that would have been one more
}

func (e *TooManyDeadError) Error() string {
	return fmt.Sprintf("view %s: %d dead letters within %s, at most %d are allowed: %v", e.View, e.Dead, e.Window, e.Max, e.Err)
}

// Unwrap returns the transaction's error.
func (e *TooManyDeadError) Unwrap() error { return e.Err }

// QuarantineFullError stops a view before it holds too much.
type QuarantineFullError struct {
	View       string
	Partition  waltz.Partition
	Held, Keys int // as there would be
	Max        int
}

func (e *QuarantineFullError) Error() string {
	return fmt.Sprintf("view %s: partition %d would hold %d transactions behind %d keys, at most %d of each are allowed: retry or discard dead letters, or raise QuarantineMax",
		e.View, e.Partition, e.Held, e.Keys, e.Max)
}

// WaitError says how far the view is, when a wait ends without success.
type WaitError struct {
	View          string
	Partition     waltz.Partition
	ID            waltz.ID // waited for
	HighWaterMark waltz.ID // the view's
	Err           error    // why the wait ended
}

func (e *WaitError) Error() string {
	return fmt.Sprintf("wait until view %s shows transaction %d of partition %d: it is at %d, %d behind: %v",
		e.View, e.ID, e.Partition, e.HighWaterMark, e.ID-e.HighWaterMark, e.Err)
}

// Unwrap returns why the wait ended.
func (e *WaitError) Unwrap() error { return e.Err }
