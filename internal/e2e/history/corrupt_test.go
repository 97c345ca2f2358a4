package history_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/internal/txn"
)

// A checker that has never caught anything proves nothing: each case spoils a
// valid history in one way, and names the rule that has to notice.
func TestEveryRuleCanFail(t *testing.T) {
	for _, c := range []struct {
		name  string
		rule  history.Rule
		spoil func(h *history.History)
	}{
		{"an acknowledged transaction is lost at the end", history.Durable, func(h *history.History) {
			last := txn.None
			for _, o := range h.Ops {
				if o.Outcome == history.Committed {
					last = max(last, o.ID)
				}
			}
			h.Logs[partition] = log(h)[:last]
		}},
		{"an acknowledged transaction is lost in the middle", history.Dense, func(h *history.History) { drop(h, len(log(h))/2) }},
		{"an acknowledged transaction is lost, the rest moves up", history.Durable, func(h *history.History) {
			drop(h, len(log(h))/2)
			for i := range log(h) {
				log(h)[i].ID = txn.ID(i)
			}
		}},
		{"two transactions change places", history.Durable, func(h *history.History) {
			l := log(h)
			l[3].Data, l[7].Data = l[7].Data, l[3].Data
		}},
		{"one byte of data is another", history.Durable, func(h *history.History) {
			e := &log(h)[5]
			e.Data = append(e.Data[:len(e.Data)-1:len(e.Data)-1], 'x')
		}},
		{"a header is another", history.Durable, func(h *history.History) { log(h)[5].Header += 9 }},
		{"a key is another", history.Durable, func(h *history.History) { log(h)[5].Key += "x" }},
		{"an ID is another", history.Dense, func(h *history.History) { log(h)[5].ID++ }},
		{"time runs backwards", history.Dense, func(h *history.History) { log(h)[50].Time = log(h)[49].Time - 1 }},
		{"a resent transaction is committed twice", history.Once, func(h *history.History) {
			again := log(h)[5]
			again.ID, again.Time = txn.ID(len(log(h))), log(h)[len(log(h))-1].Time
			h.Logs[partition] = append(log(h), again)
		}},
		{"a resent transaction is committed in another partition too", history.Once, func(h *history.History) {
			again := log(h)[5]
			again.ID = 0
			h.Logs[partition+1] = []history.Entry{again}
		}},
		{"a transaction that nobody appended", history.Foreign, func(h *history.History) {
			e := log(h)[len(log(h))-1]
			e.ID, e.Data = e.ID+1, []byte("made up")
			h.Logs[partition] = append(log(h), e)
		}},
		{"an ID below one that had returned", history.RealTime, func(h *history.History) {
			first(h, history.Committed, nil).Invoked = 1 << 40
		}},
		{"an unanswered one below one that had returned", history.RealTime, func(h *history.History) {
			o := first(h, history.Committed, nil)
			o.Invoked, o.Returned, o.Outcome, o.ID = 1<<40, history.Pending, history.Unknown, 0
		}},
		{"a mark that forgets", history.RealTime, func(h *history.History) { h.Looks[len(h.Looks)-1].Mark = 1 }},
		{"a mark from the future", history.RealTime, func(h *history.History) { h.Looks[0].Mark = txn.ID(len(log(h)) - 1) }},
		{"a mark beyond the log", history.RealTime, func(h *history.History) { h.Looks[0].Mark = txn.ID(len(log(h))) }},
		{"a conflict that was let through", history.Serializable, func(h *history.History) {
			o := first(h, history.Committed, func(o *history.Op) bool { return o.ID > 50 && checks(o) && o.Key == "" })
			o.Mark = txn.None
		}},
		{"a key that was committed twice", history.Serializable, func(h *history.History) {
			o := first(h, history.Committed, func(o *history.Op) bool { return o.ID > 100 && o.Key == "key-1" })
			o.Locks, o.Mark = nil, txn.None
		}},
		{"computed from the future", history.Serializable, func(h *history.History) {
			o := first(h, history.Committed, nil)
			o.Mark = o.ID
		}},
		{"refused, yet committed", history.Truthful, func(h *history.History) {
			o := first(h, history.Committed, nil)
			o.Outcome = history.Refused
		}},
		{"called stale, yet committed", history.Truthful, func(h *history.History) {
			o := first(h, history.Committed, func(o *history.Op) bool { return checks(o) })
			o.Outcome, o.ID, o.Mark = history.Stale, 0, txn.None
		}},
		{"a cause that is not in the log", history.Truthful, func(h *history.History) {
			first(h, history.Conflict, nil).ID = txn.ID(len(log(h)))
		}},
		{"a cause that had been seen", history.Truthful, func(h *history.History) {
			o := first(h, history.Conflict, nil)
			o.Mark = o.ID
		}},
		{"a cause that took another lock", history.Truthful, func(h *history.History) {
			o := first(h, history.Conflict, func(o *history.Op) bool { return o.Key == "" })
			o.Locks = []txn.Lock{{Hash: 77, Mode: txn.LockRead}}
		}},
		{"a cause that only read", history.Truthful, func(h *history.History) {
			o := first(h, history.Conflict, func(o *history.Op) bool { return o.Key == "" })
			cause := first(h, history.Committed, func(c *history.Op) bool { return c.ID == o.ID })
			for i := range cause.Locks {
				cause.Locks[i].Mode = txn.LockRead
			}
			cause.Key = ""
		}},
		{"a cause that came later", history.Truthful, func(h *history.History) {
			o := first(h, history.Conflict, nil)
			o.Returned = 0
		}},
		{"stale above the floor", history.Truthful, func(h *history.History) {
			o := first(h, history.Stale, nil)
			o.Mark = o.ID
		}},
		{"stale without locks", history.Truthful, func(h *history.History) {
			o := first(h, history.Stale, nil)
			o.Locks, o.Key = nil, ""
		}},
		{"a floor too near to the end", history.Truthful, func(h *history.History) {
			first(h, history.Stale, nil).ID = txn.ID(len(log(h)) - window/2)
		}},
		{"an outcome that does not exist", history.Truthful, func(h *history.History) {
			first(h, history.Conflict, nil).Outcome = "perhaps"
		}},
		{"a feed leaves one out", history.Complete, func(h *history.History) {
			f := &h.Feeds[0]
			f.Entries = append(f.Entries[:9:9], f.Entries[10:]...)
		}},
		{"a feed leaves the first out", history.Complete, func(h *history.History) { h.Feeds[1].Entries = h.Feeds[1].Entries[1:] }},
		{"a feed leaves the last out, and counts it", history.Complete, func(h *history.History) {
			h.Feeds[0].Entries = h.Feeds[0].Entries[:len(log(h))-1]
		}},
		{"a feed gives one twice", history.Complete, func(h *history.History) {
			f := &h.Feeds[0]
			f.Entries = append(f.Entries[:9:9], f.Entries[8:]...)
		}},
		{"a feed gives what is not committed", history.Complete, func(h *history.History) {
			f := &h.Feeds[0]
			f.Entries = append(f.Entries, history.Entry{ID: txn.ID(len(log(h))), Data: []byte("early")})
			f.HighWaterMark++
		}},
		{"a feed's mark runs ahead", history.Complete, func(h *history.History) { h.Feeds[0].HighWaterMark++ }},
		{"a feed's mark lags", history.Complete, func(h *history.History) { h.Feeds[0].HighWaterMark-- }},
		{"a feed changes data", history.Complete, func(h *history.History) { h.Feeds[0].Entries[9].Data = []byte("other") }},
		{"a feed changes a time", history.Complete, func(h *history.History) { h.Feeds[0].Entries[9].Time++ }},
		{"a feed leaves data out that was wanted", history.Complete, func(h *history.History) {
			for i := range h.Feeds[2].Entries {
				if e := &h.Feeds[2].Entries[i]; !e.Skipped {
					e.Skipped, e.Data = true, nil
					return
				}
			}
		}},
		{"a feed with a filter leaves one out that was wanted", history.Complete, func(h *history.History) {
			for i, e := range h.Feeds[2].Entries {
				if !e.Skipped {
					h.Feeds[2].Entries = append(h.Feeds[2].Entries[:i:i], h.Feeds[2].Entries[i+1:]...)
					return
				}
			}
		}},
		{"two ops of one name", history.Once, func(h *history.History) { h.Ops = append(h.Ops, h.Ops[0]) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := valid(11, 6, 1500)
			require.NoError(t, h.Check())
			c.spoil(h)
			requireBroken(t, c.rule, h.Check())
		})
	}
}

// Porcupine knows nothing of those rules, and refuses too what is wrong in
// time, in locks or in the answers.
func TestPorcupineRefuses(t *testing.T) {
	for name, spoil := range map[string]func(h *history.History){
		"below one that had returned": func(h *history.History) {
			o := first(h, history.Committed, func(o *history.Op) bool { return o.ID == 20 })
			o.Invoked, o.Returned = 1<<40, 1<<40+1
		},
		"a conflict let through": func(h *history.History) {
			o := first(h, history.Committed, func(o *history.Op) bool { return o.ID > 50 && checks(o) && o.Key == "" })
			o.Mark = txn.None
		},
		"refused before its cause": func(h *history.History) {
			o := first(h, history.Conflict, nil)
			o.Invoked, o.Returned = -2, -1
		},
		"refused by another lock": func(h *history.History) {
			o := first(h, history.Conflict, func(o *history.Op) bool { return o.Key == "" })
			o.Locks = []txn.Lock{{Hash: 77, Mode: txn.LockRead}}
		},
		"a mark that forgets": func(h *history.History) {
			l := &h.Looks[len(h.Looks)-1]
			l.Mark = 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := valid(11, 3, 300)
			require.NoError(t, history.CheckLinear(h, partition, 2000, time.Minute))
			spoil(h)
			requireBroken(t, history.Linear, history.CheckLinear(h, partition, 2000, time.Minute))
		})
	}
}

func TestViolationsSayWhatAndWhere(t *testing.T) {
	h := valid(11, 6, 200)
	h.Logs[partition] = log(h)[:3]
	err := h.Check()
	require.ErrorContains(t, err, "durable (I1): partition 3 transaction ")
	require.ErrorContains(t, err, "was acknowledged, and is not there")
	require.ErrorContains(t, err, " more")
}

func requireBroken(t *testing.T, rule history.Rule, err error) {
	t.Helper()
	var broken history.Violations
	require.True(t, errors.As(err, &broken), "nothing was found")
	require.True(t, broken.Has(rule), "found only: %v", err)
}

func log(h *history.History) []history.Entry { return h.Logs[partition] }

func drop(h *history.History, i int) {
	l := log(h)
	h.Logs[partition] = append(l[:i:i], l[i+1:]...)
}

func checks(o *history.Op) bool { return len(names(o, txn.LockMode.Checks)) > 0 }

// first returns the first op with an outcome that fits.
func first(h *history.History, outcome history.Outcome, fits func(o *history.Op) bool) *history.Op {
	for i := range h.Ops {
		if o := &h.Ops[i]; o.Outcome == outcome && (fits == nil || fits(o)) {
			return o
		}
	}
	panic("no op fits")
}
