package audit_test

import (
	"context"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/examples/ledger/audit"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/waltz"
)

// logs is a log in memory. Even accounts live in partition 0.
type logs [2][]waltz.Committed

func (l *logs) Partitions() int { return len(l) }

func (l *logs) PartitionFor(key string) waltz.Partition {
	return waltz.Partition(key[len(key)-1]-'0') % 2
}

// whole is all of the log.
func (l *logs) whole() audit.Span {
	ends := []waltz.ID{waltz.ID(len(l[0])) - 1, waltz.ID(len(l[1])) - 1}
	return audit.Span{Settled: ends, End: ends}
}

func none(ledger.Origin) bool { return false }

func (l *logs) Read(_ context.Context, p waltz.Partition, first, last waltz.ID) iter.Seq2[waltz.Committed, error] {
	return func(yield func(waltz.Committed, error) bool) {
		for _, c := range l[p][first : last+1] {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (l *logs) add(t *testing.T, p waltz.Partition, key string, e ledger.Entry) {
	e.BookedOn = "2026-01-02"
	data, err := ledger.Codec{}.Encode(e)
	require.NoError(t, err)
	l[p] = append(l[p], waltz.Committed{Partition: p, ID: waltz.ID(len(l[p])), Header: e.Kind.Of().Header, Key: key, Data: data})
}

func moves(kind ledger.Kind, from, to ledger.Account, amount int64) ledger.Entry {
	return ledger.Entry{Kind: kind, From: from, To: to, AmountMinor: amount, Postings: []ledger.Posting{
		{Account: from, Side: ledger.Debit, AmountMinor: amount}, {Account: to, Side: ledger.Credit, AmountMinor: amount},
	}}
}

func of(o ledger.Origin, e ledger.Entry) ledger.Entry {
	e.Origin = &o
	return e
}

func TestReplay(t *testing.T) {
	first := ledger.Origin{Partition: 0, ID: 1}
	allowed := moves(ledger.KindTransfer, 2, -1, 500)
	allowed.AllowOverdraft = true
	out, in := moves(ledger.KindOut, 2, -2, 60), of(first, moves(ledger.KindIn, -4, 3, 60))
	refused := of(first, ledger.Entry{Kind: ledger.KindRefused, AmountMinor: 60})
	returned := of(first, moves(ledger.KindReturned, -2, 2, 60))
	for name, tc := range map[string]struct {
		zero, one []ledger.Entry // after a deposit of 100 to account 2
		pending   int64
		want      string
	}{
		"empty":                      {},
		"pending":                    {zero: []ledger.Entry{out}, pending: 60},
		"credited":                   {zero: []ledger.Entry{out}, one: []ledger.Entry{in}},
		"refused":                    {zero: []ledger.Entry{out}, one: []ledger.Entry{refused}, pending: 60},
		"returned":                   {zero: []ledger.Entry{out, returned}, one: []ledger.Entry{refused}},
		"allowed overdraft":          {zero: []ledger.Entry{allowed}},
		"forbidden overdraft":        {zero: []ledger.Entry{moves(ledger.KindTransfer, 2, -1, 101)}, want: "account 2 is overdrawn to -1"},
		"paid back below zero":       {zero: []ledger.Entry{allowed, moves(ledger.KindTransfer, -1, 2, 10)}},
		"credited twice":             {zero: []ledger.Entry{out}, one: []ledger.Entry{in, in}, want: "credited 2"},
		"credited, not sent":         {one: []ledger.Entry{in}, want: "sent 0 times, credited 1"},
		"credited and returned":      {zero: []ledger.Entry{out, returned}, one: []ledger.Entry{in}, want: "credited 1, refused 0, returned 1"},
		"credited with another sum":  {zero: []ledger.Entry{out}, one: []ledger.Entry{of(first, moves(ledger.KindIn, -4, 3, 61))}, want: "TRANSFER_IN of 61, others of 60"},
		"account of other partition": {zero: []ledger.Entry{moves(ledger.KindTransfer, 2, 3, 1)}, want: "account 3 lives elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			l := &logs{}
			l.add(t, 0, "", moves(ledger.KindTransfer, -1, 2, 100))
			for p, entries := range [][]ledger.Entry{tc.zero, tc.one} {
				for _, e := range entries {
					l.add(t, waltz.Partition(p), "", e)
				}
			}
			r, err := audit.Replay(t.Context(), l, l.whole(), none)
			require.NoError(t, err)
			if tc.want != "" {
				require.False(t, r.OK())
				require.Contains(t, r.Problems[0], tc.want)
				return
			}
			require.Empty(t, r.Problems)
			require.Equal(t, tc.pending, r.PendingMinor)
			require.EqualValues(t, len(l[0])+len(l[1]), r.Transactions)
		})
	}
}

func TestReplayFindsKeysUsedTwice(t *testing.T) {
	l := &logs{}
	for range 2 {
		l.add(t, 0, "row 1", moves(ledger.KindTransfer, -1, 2, 100))
	}
	r, err := audit.Replay(t.Context(), l, l.whole(), none)
	require.NoError(t, err)
	require.Contains(t, r.Problems[0], `key "row 1" is of transaction 0 already`)
}

func TestReplayNamesWhatItCannotDecode(t *testing.T) {
	l := &logs{}
	l[1] = append(l[1], waltz.Committed{Partition: 1, Header: ledger.HeaderPosted, Data: []byte("{")})
	r, err := audit.Replay(t.Context(), l, l.whole(), none)
	require.NoError(t, err)
	require.Contains(t, r.Problems[0], "partition 1 transaction 0: malformed entry")

	r, err = audit.Replay(t.Context(), l, l.whole(), func(o ledger.Origin) bool { return o == ledger.Origin{Partition: 1, ID: 0} })
	require.NoError(t, err)
	require.Empty(t, r.Problems, "somebody has decided that the view passes it")
}

// Others may share the log: what is under their headers is theirs.
func TestReplayLeavesOthersAlone(t *testing.T) {
	l := &logs{}
	for _, h := range []waltz.Header{0, 9, 13, 1 << 20} {
		l[0] = append(l[0], waltz.Committed{ID: waltz.ID(len(l[0])), Header: h, Key: "k", Data: []byte("hello")})
	}
	l.add(t, 0, "k", moves(ledger.KindTransfer, -1, 2, 100))
	r, err := audit.Replay(t.Context(), l, l.whole(), none)
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.EqualValues(t, 1, r.Transactions)
}

// A log that is written to is audited up to marks that were read one after the other: what
// follows from something beyond them is no problem, unless it can't.
func TestReplayWhileOthersWrite(t *testing.T) {
	first := ledger.Origin{Partition: 0, ID: 1}
	refused := of(first, ledger.Entry{Kind: ledger.KindRefused, AmountMinor: 60})
	returned := of(first, moves(ledger.KindReturned, -2, 2, 60))
	l := &logs{}
	l.add(t, 0, "", moves(ledger.KindTransfer, -1, 2, 100))
	l.add(t, 0, "", moves(ledger.KindOut, 2, -2, 60))
	l.add(t, 1, "", of(first, moves(ledger.KindIn, -4, 3, 60)))
	back := &logs{}
	back.add(t, 0, "", moves(ledger.KindTransfer, -1, 2, 100))
	back.add(t, 0, "", moves(ledger.KindOut, 2, -2, 60))
	back.add(t, 0, "", returned)
	back.add(t, 1, "", refused)
	for name, tc := range map[string]struct {
		log          *logs
		settled, end []waltz.ID
		good         bool
	}{
		"credited, sent beyond":               {l, []waltz.ID{0, -1}, []waltz.ID{0, 0}, true},
		"credited, sent not there in time":    {l, []waltz.ID{0, 0}, []waltz.ID{0, 0}, false},
		"returned, refused beyond":            {back, []waltz.ID{1, -1}, []waltz.ID{2, -1}, true},
		"returned, refused not there in time": {back, []waltz.ID{2, -1}, []waltz.ID{2, -1}, false},
	} {
		r, err := audit.Replay(t.Context(), tc.log, audit.Span{Settled: tc.settled, End: tc.end}, none)
		require.NoError(t, err)
		require.Equal(t, tc.good, r.OK(), "%s: %v", name, r.Problems)
	}
}
