package applier

import (
	"time"

	"github.com/waltz-log/waltz/waltz"
)

// Hooks are functions that an applier calls upon events, for metrics and
// alarms. Any may be nil. They are called from the partitions' goroutines,
// concurrently, and must return soon.
type Hooks struct {
	// Applied is called after each SQL transaction: how many log transactions had
	// effects in it, the mark, and how long it took.
	Applied func(p waltz.Partition, transactions int, mark waltz.ID, took time.Duration)
	// Changed is called when a partition's state changes.
	Changed func(s PartitionStatus)
	// Retrying is called before each pause after trouble of the database.
	Retrying func(p waltz.Partition, f Fault, pause time.Duration)
	// Lost is called when another instance was faster.
	Lost func(p waltz.Partition, mark waltz.ID)
	// Dead is called when a transaction has become a dead letter.
	Dead func(p waltz.Partition, id waltz.ID, f Fault)
	// Skipped is called when [Skip] has passed a transaction.
	Skipped func(p waltz.Partition, id waltz.ID, f Fault)
	// Retried is called when letters have been applied after all.
	Retried func(p waltz.Partition, ids []waltz.ID)
	// Stage is called at each stage of each step: for tests that end the process
	// there, to prove that it does no harm.
	Stage func(p waltz.Partition, s Stage)
}
