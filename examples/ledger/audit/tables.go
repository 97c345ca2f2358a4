package audit

import (
	"context"
	"fmt"

	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/waltz"
)

// Marks adds to the report what is wrong with a view's marks in a log that ends so, and
// how far it is behind. With ok, a replay of the log up to the marks can be compared.
func (r *Report) Marks(marks []view.Mark, logID string, ends []waltz.ID) (ok bool) {
	before, at := r.ProblemCount, map[waltz.Partition]bool{}
	for _, m := range marks {
		at[m.Partition] = true
		switch {
		case int(m.Partition) >= len(ends):
			r.differs("it has a mark of partition %d, the log has %d partitions", m.Partition, len(ends))
		case m.LogID != logID:
			r.differs("partition %d was made from log %q, this is log %q", m.Partition, m.LogID, logID)
		case m.ID > ends[m.Partition]:
			r.differs("partition %d is at transaction %d, beyond the log's end at %d", m.Partition, m.ID, ends[m.Partition])
		case m.ID < waltz.None:
			r.differs("partition %d is at transaction %d, which there can't be", m.Partition, m.ID)
		default:
			r.Behind += int64(ends[m.Partition] - m.ID)
		}
	}
	for p := range waltz.Partition(len(ends)) {
		if !at[p] {
			r.differs("it has no mark of partition %d", p)
		}
	}
	return r.ProblemCount == before
}

// Letters adds that a view is incomplete.
func (r *Report) Letters(l view.Letters) {
	letters := "1 dead letter is open:"
	switch r.DeadLetters = l.Open; l.Open {
	case 0:
		return
	case 1:
	default:
		letters = fmt.Sprintf("%d dead letters are open, the first is", l.Open)
	}
	r.problem("the view is incomplete: %s transaction %d of partition %d; see waltz dead list --view %s", letters, l.First.ID, l.First.Partition, view.Name)
}

// Missing adds that a view can't be read, since it is not there or not whole.
func (r *Report) Missing(err error) { r.differs("%v", err) }

func (r *Report) differs(format string, args ...any) {
	r.problem("the view differs: %s", fmt.Sprintf(format, args...))
}

// Tables adds to the report what is wrong with a view: its own sums, and every
// table's first difference from replayed, a view that was built anew from the same
// part of the same log.
func (r *Report) Tables(ctx context.Context, live, replayed view.Querier) error {
	sums, err := view.ReadSums(ctx, live)
	if err != nil {
		return fmt.Errorf("audit view: %w", err)
	}
	if sums.AllMinor != 0 || sums.PostedMinor != 0 {
		r.differs("its books don't balance: accounts sum to %d, postings to %d", sums.AllMinor, sums.PostedMinor)
	}
	if sums.TransitMinor != sums.PendingMinor {
		r.differs("its transit accounts hold %d, pending transfers come to %d", sums.TransitMinor, sums.PendingMinor)
	}
	differences, err := view.Compare(ctx, live, replayed)
	if err != nil {
		return fmt.Errorf("audit view: %w", err)
	}
	for _, d := range differences {
		r.differs("%s", d)
	}
	return nil
}
