package history_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/internal/txn"
)

const (
	partition = txn.Partition(3)
	locks     = 5
	window    = 50 // transactions that the model server remembers locks for
)

// server is a correct log, one call at a time, and the recorder of its clients.
type server struct {
	rand *rand.Rand
	now  int64
	last map[string]txn.ID // mark of each lock or key
	log  []history.Entry
	h    history.History
	busy []*history.Op // by client; nil: idle
	told []bool        // whether the client's op has been decided
}

// valid makes the history of clients that call concurrently, some of whose
// answers are lost.
func valid(seed uint64, clients, calls int) *history.History {
	s := &server{
		rand: rand.New(rand.NewPCG(seed, 7)), last: make(map[string]txn.ID),
		busy: make([]*history.Op, clients), told: make([]bool, clients),
	}
	for len(s.h.Ops) < calls {
		s.now++
		s.move(s.rand.IntN(clients))
	}
	for c := range s.busy { // all that is under way is decided, or not
		if s.busy[c] != nil && !s.told[c] && s.rand.IntN(2) == 0 {
			s.decide(s.busy[c])
		}
		if s.busy[c] != nil {
			s.lose(c)
		}
	}
	s.h.Logs = map[txn.Partition][]history.Entry{partition: s.log}
	s.h.WindowMin = window
	s.h.Feeds = []history.Feed{s.feed(txn.None, nil), s.feed(txn.ID(len(s.log)/2-1), nil), s.feed(txn.ID(len(s.log)/9-1), []txn.Header{1})}
	return &s.h
}

func (s *server) move(c int) {
	o := s.busy[c]
	switch {
	case o == nil && s.rand.IntN(10) == 0:
		s.look(c)
	case o == nil:
		s.begin(c)
	case !s.told[c]:
		s.decide(o)
		s.told[c] = true
	case s.rand.IntN(15) == 0:
		s.lose(c)
	default:
		o.Returned = s.now
		s.h.Ops = append(s.h.Ops, *o)
		s.busy[c], s.told[c] = nil, false
	}
}

func (s *server) look(c int) {
	asked := s.now
	s.now += 2
	s.h.Looks = append(s.h.Looks, history.Look{
		Client: fmt.Sprint(c), Partition: partition, Invoked: asked, Returned: s.now, Mark: txn.ID(len(s.log) - 1),
	})
}

func (s *server) begin(c int) {
	name := fmt.Sprintf("client-%d-%d", c, s.now)
	end := len(s.log)
	o := &history.Op{
		Client: fmt.Sprint(c), Name: name, Partition: partition, Header: txn.Header(s.rand.IntN(3)),
		Data: []byte(name + "\nbody"), Mark: txn.ID(end - 1 - s.rand.IntN(min(end, window-10)+1)), Invoked: s.now,
	}
	if s.rand.IntN(40) == 0 {
		o.Mark = txn.None // an old view
	}
	for range s.rand.IntN(3) {
		o.Locks = append(o.Locks, txn.Lock{Hash: txn.LockHash(s.rand.IntN(locks)), Mode: txn.LockMode(1 + s.rand.IntN(3))})
	}
	if s.rand.IntN(4) == 0 {
		o.Key = fmt.Sprintf("key-%d", s.rand.IntN(locks))
	}
	s.busy[c] = o
}

// decide is the moment at which an op happens.
func (s *server) decide(o *history.Op) {
	checks, marks := names(o, txn.LockMode.Checks), names(o, txn.LockMode.Marks)
	if floor := txn.ID(len(s.log) - 1 - window); o.Mark < floor && len(checks) > 0 {
		o.Outcome, o.ID = history.Stale, floor
		return
	}
	for _, l := range checks {
		if by, marked := s.last[l]; marked && by > o.Mark {
			o.Outcome, o.ID = history.Conflict, by
			return
		}
	}
	o.Outcome, o.ID = history.Committed, txn.ID(len(s.log))
	for _, l := range marks {
		s.last[l] = o.ID
	}
	s.log = append(s.log, history.Entry{ID: o.ID, Header: o.Header, Time: txn.Timestamp(s.now / 3), Key: o.Key, Data: o.Data})
}

func names(o *history.Op, take func(txn.LockMode) bool) []string {
	var out []string
	if o.Key != "" {
		out = append(out, "key "+o.Key)
	}
	for _, l := range o.Locks {
		if take(l.Mode) {
			out = append(out, fmt.Sprint(l.Hash))
		}
	}
	return out
}

// lose: the client dies, or gives up, without an answer.
func (s *server) lose(c int) {
	o := s.busy[c]
	o.Returned, o.Outcome, o.ID = history.Pending, history.Unknown, 0
	s.h.Ops = append(s.h.Ops, *o)
	s.busy[c], s.told[c] = nil, false
}

func (s *server) feed(mark txn.ID, headers []txn.Header) history.Feed {
	f := history.Feed{Client: "feed", Partition: partition, Mark: mark, Headers: headers, HighWaterMark: txn.ID(len(s.log) - 1)}
	for _, e := range s.log[mark+1:] {
		switch {
		case headers == nil || e.Header == headers[0]:
			f.Entries = append(f.Entries, e)
		case e.Header == 0: // skipped, yet shown; the others are left out
			e.Data, e.Skipped = nil, true
			f.Entries = append(f.Entries, e)
		}
	}
	return f
}

func TestValidHistoriesPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := valid(rapid.Uint64().Draw(t, "seed"), rapid.IntRange(1, 9).Draw(t, "clients"), rapid.IntRange(1, 400).Draw(t, "calls"))
		require.NoError(t, h.Check())
		require.NoError(t, history.CheckLinear(h, partition, 100, time.Minute))
	})
}

// TestManyCallers: what is refused while many others are does not make the
// search longer, whatever the order in which they returned.
func TestManyCallers(t *testing.T) {
	h := valid(1, 60, 20_000)
	require.NoError(t, history.CheckLinear(h, partition, 2_000, time.Minute))
}

func TestValidHistoriesHaveEveryOutcome(t *testing.T) {
	count := make(map[history.Outcome]int)
	for _, o := range valid(1, 6, 2000).Ops {
		count[o.Outcome]++
	}
	for _, o := range []history.Outcome{history.Unknown, history.Committed, history.Conflict, history.Stale} {
		require.Greater(t, count[o], 20, "%q", o)
	}
}

func TestRecordingRoundTrip(t *testing.T) {
	want := valid(5, 4, 300)
	var b bytes.Buffer
	write := func(l history.Line) {
		text, err := l.Encode()
		require.NoError(t, err)
		b.Write(text)
	}
	for _, o := range want.Ops {
		begin := o
		begin.Returned, begin.Outcome, begin.ID = 0, "", 0
		write(history.Line{Begin: &begin})
		if o.Outcome != history.Unknown {
			write(history.Line{End: &history.End{Name: o.Name, Returned: o.Returned, Outcome: o.Outcome, ID: o.ID}})
		}
	}
	for _, l := range want.Looks {
		write(history.Line{Look: &l})
	}
	for _, f := range want.Feeds {
		for _, e := range f.Entries {
			part := f
			part.Entries, part.HighWaterMark = []history.Entry{e}, e.ID
			write(history.Line{Batch: &part})
		}
		f.Entries = nil
		write(history.Line{Batch: &f})
	}
	b.WriteString(`{"Begin":{"Name":"torn`)

	var got history.History
	require.NoError(t, got.Add(&b))
	require.Equal(t, want.Ops, got.Ops)
	require.Equal(t, want.Looks, got.Looks)
	require.Equal(t, want.Feeds, got.Feeds)
}

func TestRecordingRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		"{}\n":                        "line 1: it says nothing",
		"nonsense\n":                  "line 1: invalid character",
		`{"End":{"Name":"a"}}` + "\n": `line 1: "a" ends and never began`,
	} {
		var h history.History
		require.ErrorContains(t, h.Add(bytes.NewBufferString(text)), reason)
	}
}
