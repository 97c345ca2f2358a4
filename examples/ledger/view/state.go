package view

import (
	"context"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// Mark is how far a partition of the view is, and in which log.
type Mark struct {
	Partition waltz.Partition
	ID        waltz.ID
	LogID     string
}

// Letters are the transactions that the view has passed without applying them.
type Letters struct {
	Open      int           // dead, held, or asked for: the view is incomplete
	First     ledger.Origin // the first of those
	Discarded map[ledger.Origin]bool
}

// ReadMarks reads the marks of the view's partitions. Where they are is the
// framework's, whose tables lie beside the ledger's.
func ReadMarks(ctx context.Context, q Querier) (all []Mark, err error) {
	err = each(ctx, q, func(rows Rows) error {
		var m Mark
		err := rows.Scan(&m.Partition, &m.ID, &m.LogID)
		all = append(all, m)
		return err
	}, `SELECT m.partition, m.high_water_mark, m.log_id FROM waltz_high_water_marks m
WHERE m.name = ? AND m.version = 1 ORDER BY m.partition`, Name)
	return all, wrap(err, "read the view's marks")
}

// ReadLetters reads which transactions were passed.
func ReadLetters(ctx context.Context, q Querier) (l Letters, err error) {
	l.Discarded = map[ledger.Origin]bool{}
	err = each(ctx, q, func(rows Rows) error {
		var o ledger.Origin
		var state string
		if err := rows.Scan(&o.Partition, &o.ID, &state); err != nil {
			return err
		}
		if state == "discarded" {
			l.Discarded[o] = true
			return nil
		}
		if l.Open++; l.Open == 1 {
			l.First = o
		}
		return nil
	}, `SELECT d.partition, d.transaction_id, d.state FROM waltz_dead_letters d
WHERE d.name = ? AND d.version = 1 ORDER BY d.partition, d.transaction_id`, Name)
	return l, wrap(err, "read the view's dead letters")
}
