package audit

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/examples/ledger/view"
)

// Tables adds to the report what is wrong with a view: its own sums, and every
// table's first difference from replayed, a view that was built anew from the same
// log.
func (r *Report) Tables(ctx context.Context, live, replayed view.Querier) error {
	sums, err := view.ReadSums(ctx, live)
	if err != nil {
		return fmt.Errorf("audit view: %w", err)
	}
	if sums.AllMinor != 0 || sums.PostedMinor != 0 {
		r.problem("view: books don't balance: accounts sum to %d, postings to %d", sums.AllMinor, sums.PostedMinor)
	}
	if sums.TransitMinor != sums.PendingMinor {
		r.problem("view: transit accounts hold %d, pending transfers come to %d", sums.TransitMinor, sums.PendingMinor)
	}
	differences, err := view.Compare(ctx, live, replayed)
	if err != nil {
		return fmt.Errorf("audit view: %w", err)
	}
	for _, d := range differences {
		r.problem("view: %s", d)
	}
	return nil
}
