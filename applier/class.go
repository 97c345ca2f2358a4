package applier

import (
	"context"
	"errors"
	"fmt"
)

// Class is what an error of a database asks for.
type Class int

const (
	// ClassData is due to the transaction's data: halve the batch until it stands
	// alone, then ask [Policy]. Errors that no database made, such as a handler's
	// own, are of this class.
	ClassData Class = iota
	// ClassRetry is over at once: a deadlock, a serialization failure.
	ClassRetry
	// ClassBackOff passes: locked, shutting down, connection lost.
	ClassBackOff
	// ClassPage passes once somebody does something: disk full, I/O error.
	ClassPage
	// ClassUnknown leaves open whether the SQL transaction was committed: read the mark.
	ClassUnknown
	// ClassConfiguration is a missing table or column, a missing privilege, bad
	// SQL: stop, whatever the policy.
	ClassConfiguration
	// ClassBug is something that can't be: stop.
	ClassBug
)

var classNames = [...]string{"data", "retry", "back-off", "page", "unknown outcome", "configuration", "bug"}

// String returns the name as it stands in logs and in the database.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return fmt.Sprintf("class %d", int(c))
	}
	return classNames[c]
}

// Transient reports whether the same batch is tried again, for ever.
func (c Class) Transient() bool {
	return c == ClassRetry || c == ClassBackOff || c == ClassPage || c == ClassUnknown
}

// Fault is what is known about an error, without any value of a row: fit for logs.
type Fault struct {
	Class Class
	Code  string // the database's, such as "SQLITE_CONSTRAINT_UNIQUE" or "23505", or one of the applier's: see [CodeDecode]
	Text  string // the database's, if it holds no values: the constraint, table and column; else ""
}

// Codes of errors that no database made.
const (
	CodeDecode    = "decode"     // the kind's codec does not take the data
	CodeNoHandler = "no handler" // the transaction's header has none, and [StopUnknown] forbids that
	CodeHandler   = "handler"    // the handler's own error
	CodePanic     = "panic"      // the handler panicked
	CodeEscape    = "escape"     // the handler tried to leave the SQL transaction
	CodeContext   = "context"    // canceled, or too late
)

// itemError is why a transaction can't even be handed to its handlers.
type itemError struct {
	code string
	err  error
}

func (e *itemError) Error() string { return e.err.Error() }
func (e *itemError) Unwrap() error { return e.err }

// classified gives an error a class.
type classified struct {
	class Class
	err   error
}

func (e *classified) Error() string { return e.err.Error() }
func (e *classified) Unwrap() error { return e.err }

// WithClass gives an error a class that its own kind doesn't tell: a handler
// that asks another service returns WithClass(ClassBackOff, err) to be tried again.
func WithClass(c Class, err error) error {
	if err == nil {
		return nil
	}
	return &classified{c, err}
}

// fault finds out about an error: what was said with WithClass first, then what
// the database says.
func fault(err error, database func(error) (Fault, bool)) Fault {
	f, known := database(err)
	if !known {
		f = Fault{}
	}
	if c, is := errors.AsType[*classified](err); is {
		f.Class = c.class
		return f.ofHandler()
	}
	if own, is := ownFault(err, known); is {
		return own
	}
	return f
}

// ofHandler is the fault of an error that came out of a handler: what nobody knows is
// its own.
func (f Fault) ofHandler() Fault {
	if f.Code == "" {
		f.Code = CodeHandler
	}
	return f
}

// ownFault is what the applier itself knows about an error. known is whether the
// database knows it.
func ownFault(err error, known bool) (Fault, bool) {
	if _, is := errors.AsType[*EscapeError](err); is {
		return Fault{Class: ClassBug, Code: CodeEscape}, true
	}
	if _, is := errors.AsType[*PanicError](err); is {
		return Fault{Class: ClassData, Code: CodePanic}, true
	}
	if e, is := errors.AsType[*itemError](err); is {
		return Fault{Class: ClassData, Code: e.code}, true
	}
	if !known && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return Fault{Class: ClassBackOff, Code: CodeContext}, true
	}
	return Fault{}, false
}
