package history

import (
	"fmt"
	"strings"

	"github.com/waltz-log/waltz/internal/txn"
)

// Rule names what a history must keep.
type Rule string

// The rules. Each is one sentence of the design; the tests show that each can fail.
const (
	Durable      Rule = "durable (I1)"      // what was acknowledged is in the log, at its ID, with its bytes
	Dense        Rule = "dense (I2)"        // IDs have no gaps; timestamps never decrease
	Once         Rule = "once (I4)"         // no attempt is in the log twice
	Serializable Rule = "serializable (I5)" // nothing was committed over a conflicting mark
	Complete     Rule = "complete (I6)"     // feeds are the log
	Truthful     Rule = "truthful (I8)"     // refused is not committed, and has a true reason
	Foreign      Rule = "foreign"           // nothing is in the log that nobody appended
	RealTime     Rule = "real time"         // what returned before another began has the lower ID
	Linear       Rule = "linear"            // porcupine finds an order
)

// Violation is one breach of a rule.
type Violation struct {
	Rule      Rule
	Partition txn.Partition
	ID        txn.ID // of the transaction it is about, or None
	Detail    string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: partition %d transaction %d: %s", v.Rule, v.Partition, v.ID, v.Detail)
}

// Violations is the error of a history that breaks rules.
type Violations []Violation

func (v Violations) Error() string {
	const shown = 12
	var b strings.Builder
	fmt.Fprintf(&b, "the history breaks the rules %d times:", len(v))
	for i, one := range v {
		if i == shown {
			fmt.Fprintf(&b, "\n  and %d more", len(v)-shown)
			break
		}
		fmt.Fprintf(&b, "\n  %s", one)
	}
	return b.String()
}

// Has reports whether a rule is among those broken.
func (v Violations) Has(rule Rule) bool {
	for _, one := range v {
		if one.Rule == rule {
			return true
		}
	}
	return false
}
