package audit

import (
	"context"
	"fmt"
	"iter"

	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// Log is what an audit reads; *waltz.Client is one.
type Log interface {
	Partitions() int
	PartitionFor(key string) waltz.Partition
	Read(ctx context.Context, p waltz.Partition, first, last waltz.ID) iter.Seq2[waltz.Committed, error]
}

// problemsMax bounds how many problems are told; all are counted.
const problemsMax = 20

// Report is what an audit found.
type Report struct {
	Transactions int64
	Accounts     int64 // customers'
	Pending      int64 // transfers across partitions under way
	PendingMinor int64 // what they come to
	Behind       int64 // transactions that the view does not show yet
	DeadLetters  int   // of the view, that are open
	ProblemCount int
	Problems     []string // the first of them
}

// OK reports whether nothing is wrong.
func (r *Report) OK() bool { return r.ProblemCount == 0 }

func (r *Report) problem(format string, args ...any) {
	if r.ProblemCount++; r.ProblemCount <= problemsMax {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Span is the part of a log that is audited: all of each partition up to End, as of one
// look at the marks, where whatever an entry up to Settled follows from is up to End of its
// partition, since all Settled were looked at before. So a log may be audited while it is
// written to.
type Span struct{ Settled, End []waltz.ID }

// replay is the books as the log tells them.
type replay struct {
	*Report
	Span
	passed       func(ledger.Origin) bool
	partitionFor func(string) waltz.Partition
	balances     map[ledger.Account]int64
	crossings    map[ledger.Origin]*crossing
}

// crossing is what the log holds of a transfer across partitions.
type crossing struct {
	amountMinor                       int64
	sent, credited, refused, returned int

	needsSent, needsRefusal bool // which has to be in the span, too
}

// Replay audits the log: every entry balances and keeps to its partition, no
// account is overdrawn by an entry that doesn't allow it, and each transfer across
// partitions ends in one place at most, with the transit accounts holding exactly
// those that are pending. Transactions whose header is not the ledger's are not its
// business; one that passed reports may be no entry. err is for a log that can't be read.
func Replay(ctx context.Context, log Log, s Span, passed func(ledger.Origin) bool) (*Report, error) {
	r := &replay{
		Report: &Report{Problems: []string{}}, Span: s, passed: passed, partitionFor: log.PartitionFor,
		balances: map[ledger.Account]int64{}, crossings: map[ledger.Origin]*crossing{},
	}
	for p := range waltz.Partition(log.Partitions()) {
		if err := r.partition(ctx, log, p); err != nil {
			return nil, fmt.Errorf("replay partition %d: %w", p, err)
		}
	}
	r.settle(log.Partitions())
	return r.Report, nil
}

func (r *replay) partition(ctx context.Context, log Log, p waltz.Partition) error {
	if r.End[p] == waltz.None {
		return nil
	}
	keys := map[string]waltz.ID{}
	for tx, err := range log.Read(ctx, p, 0, r.End[p]) {
		if err != nil {
			return err
		}
		if !ledger.IsHeader(tx.Header) {
			continue
		}
		r.Transactions++
		if first, twice := keys[tx.Key]; twice && tx.Key != "" {
			r.problem("partition %d transaction %d: key %q is of transaction %d already", p, tx.ID, tx.Key, first)
		}
		keys[tx.Key] = tx.ID
		var e ledger.Entry
		if err := (ledger.Codec{}).Decode(tx.Data, &e); err != nil {
			if !r.passed(ledger.Origin{Partition: p, ID: tx.ID}) {
				r.problem("partition %d transaction %d: %v", p, tx.ID, err)
			}
			continue
		}
		r.entry(tx, &e)
	}
	return nil
}

func (r *replay) entry(tx waltz.Committed, e *ledger.Entry) {
	for _, posting := range e.Postings {
		a := posting.Account
		if ledger.PartitionOf(a, r.partitionFor) != tx.Partition {
			r.problem("partition %d transaction %d: account %d lives elsewhere", tx.Partition, tx.ID, a)
		}
		if _, known := r.balances[a]; !known && a.IsCustomer() {
			r.Accounts++
		}
		r.balances[a] += posting.Signed()
		if a.IsCustomer() && posting.Side == ledger.Debit && r.balances[a] < 0 && !e.AllowOverdraft {
			r.problem("partition %d transaction %d: account %d is overdrawn to %d, which is not allowed", tx.Partition, tx.ID, a, r.balances[a])
		}
	}
	if e.Kind == ledger.KindOpened && len(e.Postings) == 0 {
		r.Accounts++
		r.balances[e.Account] += 0
	}
	r.step(tx, e)
}

// step notes what an entry means to a transfer across partitions.
func (r *replay) step(tx waltz.Committed, e *ledger.Entry) {
	origin := ledger.Origin{Partition: tx.Partition, ID: tx.ID}
	if e.Origin != nil {
		origin = *e.Origin
	}
	c := r.crossings[origin]
	if c == nil {
		c = &crossing{amountMinor: e.AmountMinor}
	}
	settled := tx.ID <= r.Settled[tx.Partition]
	c.needsSent = c.needsSent || settled
	switch e.Kind {
	case ledger.KindOut:
		c.sent++
	case ledger.KindIn:
		c.credited++
	case ledger.KindRefused:
		c.refused++
	case ledger.KindReturned:
		c.returned++
		c.needsRefusal = c.needsRefusal || settled
	default:
		return
	}
	if c.amountMinor != e.AmountMinor {
		r.problem("transfer %s: %s of %d, others of %d", origin, e.Kind, e.AmountMinor, c.amountMinor)
	}
	r.crossings[origin] = c
}

// settle checks how transfers across partitions ended, and what is in transit.
func (r *replay) settle(partitions int) {
	inTransit := int64(0)
	for origin, c := range r.crossings {
		if !c.possible() {
			r.problem("transfer %s: sent %d times, credited %d, refused %d, returned %d", origin, c.sent, c.credited, c.refused, c.returned)
		}
		if c.sent > 0 && c.credited+c.returned == 0 {
			r.Pending++
			r.PendingMinor += c.amountMinor
		}
		inTransit += c.amountMinor * int64(c.sent-c.credited-c.returned)
	}
	transit, all := int64(0), int64(0)
	for p := range waltz.Partition(partitions) {
		transit += r.balances[ledger.Transit(p)]
	}
	for _, balance := range r.balances {
		all += balance
	}
	if all != 0 {
		r.problem("books don't balance: all accounts sum to %d", all)
	}
	if transit != inTransit {
		r.problem("transit accounts hold %d, pending transfers come to %d", transit, inTransit)
	}
}

// possible reports whether a transfer ends in one place at most, each step after the one
// that it follows from.
func (c *crossing) possible() bool {
	switch {
	case c.sent > 1, c.credited+c.refused > 1, c.returned > 1, c.credited > 0 && c.returned > 0:
		return false
	case c.needsSent && c.sent == 0, c.needsRefusal && c.refused == 0:
		return false
	}
	return true
}
