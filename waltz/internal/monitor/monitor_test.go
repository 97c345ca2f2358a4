package monitor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
)

const roomy = 1 << 30

// books are a monitor with one partition, owned by one open lane.
func books(limits Limits) (*Monitor, *Lane) {
	m := New(1, limits)
	l := m.NewLane()
	m.Route([]*Lane{l})
	l.Open()
	return m, l
}

func attempt(name string) *Attempt {
	return &Attempt{Body: []byte(name), SentMark: txn.None, Shell: name}
}

func names(group []*Attempt) string {
	var s []string
	for _, a := range group {
		s = append(s, a.Shell.(string))
	}
	return strings.Join(s, " ")
}

func addAll(m *Monitor, s string) (all []*Attempt) {
	for name := range strings.FieldsSeq(s) {
		a := attempt(name)
		m.Add(a)
		all = append(all, a)
	}
	return all
}

func states(all []*Attempt) string {
	text := [...]string{"fresh", "held", "waiting", "parked", "sent", "answered", "dropped"}
	var s []string
	for _, a := range all {
		s = append(s, text[a.State])
	}
	return strings.Join(s, " ")
}

func TestAnswersOutOfOrder(t *testing.T) {
	m, l := books(Limits{roomy, roomy})
	all := addAll(m, "a b c d")
	first, group := l.Next(roomy)
	require.Equal(t, uint64(0), first)
	require.Equal(t, "a b c d", names(group))
	require.NoError(t, l.Committed(2, 2, 0, 10))
	require.Equal(t, "c d", names(m.TakeDone()))
	require.NoError(t, l.Committed(0, 1, 0, 12))
	_, err := l.Refused(1, Outcome{Reason: 1, ID: 11})
	require.NoError(t, err)
	require.Equal(t, "a b", names(m.TakeDone()))
	require.Equal(t, "answered answered answered answered", states(all))
	require.Equal(t, []txn.ID{12, 11, 10, 11}, []txn.ID{all[0].Outcome.ID, all[1].Outcome.ID, all[2].Outcome.ID, all[3].Outcome.ID})
	addAll(m, "e")
	first, _ = l.Next(roomy)
	require.Equal(t, uint64(4), first, "numbers go on")
	n, _ := m.Unanswered()
	require.Equal(t, 1, n)
}

func TestGroupsAreBounded(t *testing.T) {
	m, l := books(Limits{roomy, roomy})
	addAll(m, "aaaaaaaaaa bbbbbbbbbb c dddddddddddddddddddd e")
	var groups []string
	for l.Sendable() {
		_, g := l.Next(2*(10+framing) + framing)
		groups = append(groups, names(g))
	}
	require.Equal(t, []string{"aaaaaaaaaa bbbbbbbbbb", "c dddddddddddddddddddd", "e"}, groups)
	addAll(m, "fffffffffffffff g")
	_, g := l.Next(1)
	require.Equal(t, "fffffffffffffff", names(g), "one alone may be longer")
}

func TestBreakSendsAgainInOrder(t *testing.T) {
	m, l := books(Limits{roomy, roomy})
	all := addAll(m, "a b c d")
	l.Next(roomy)
	require.NoError(t, l.Committed(1, 1, 0, 0))
	late := addAll(m, "e")
	l.Break()
	require.False(t, l.Sendable())
	require.Equal(t, "waiting answered waiting waiting", states(all))
	l.Open()
	first, g := l.Next(roomy)
	require.Equal(t, uint64(0), first, "a stream's numbers start at 0")
	require.Equal(t, "a c d e", names(g))
	require.True(t, all[0].Unsure)
	require.False(t, late[0].Unsure, "it was sent for the first time")
}

func TestAbandon(t *testing.T) {
	m, l := books(Limits{2, roomy})
	all := addAll(m, "a b c")
	require.Equal(t, "waiting waiting held", states(all))
	require.Equal(t, Dropped, m.Abandon(all[0]))
	require.Equal(t, "dropped waiting waiting", states(all), "what is held moves up")
	l.Next(roomy)
	require.Equal(t, Sent, m.Abandon(all[1]))
	require.Equal(t, Sent, m.Abandon(all[2]))
	n, _ := m.Unanswered()
	require.Equal(t, 2, n, "what is on a stream takes its room until that is over")
	require.NoError(t, l.Committed(0, 1, 0, 7))
	require.Equal(t, Answered, m.Adopt(all[1]))
	l.Break()
	require.Equal(t, "dropped answered dropped", states(all))
	require.True(t, all[2].Unsure)
	require.Equal(t, Waiting, m.Adopt(all[2]))
	l.Open()
	_, g := l.Next(roomy)
	require.Equal(t, "c", names(g))
	require.Equal(t, Answered, m.Abandon(all[1]), "an answer stays")
}

func TestMoving(t *testing.T) {
	m := New(2, Limits{roomy, roomy})
	x, y := m.NewLane(), m.NewLane()
	of := func(p txn.Partition, s string) (all []*Attempt) {
		for name := range strings.FieldsSeq(s) {
			a := attempt(name)
			a.Partition = p
			m.Add(a)
			all = append(all, a)
		}
		return all
	}
	of(0, "a b")
	of(1, "c")
	require.Equal(t, 3, m.Stalled(), "no owner yet")
	m.Route([]*Lane{x, y})
	require.Equal(t, []int{0, 2, 1}, []int{m.Stalled(), x.Waiting(), y.Waiting()})
	x.Open()
	x.Next(roomy)
	of(0, "d")
	m.Route([]*Lane{y, y})
	require.Equal(t, []int{0, 2}, []int{x.Waiting(), y.Waiting()}, "what waits moves, what is on a stream stays")
	require.Equal(t, y, m.Owner(0))
	p, err := x.Refused(0, Outcome{Reason: NotOwner})
	require.NoError(t, err)
	require.Equal(t, txn.Partition(0), p)
	require.Equal(t, 1, m.Stalled())
	x.Break() // b goes straight to the new owner
	require.Equal(t, 3, y.Waiting())
	m.Release()
	y.Open()
	_, g := y.Next(roomy)
	require.Equal(t, "a b c d", names(g))
	require.False(t, g[0].Unsure, "not the owner: nothing was written")
	require.True(t, g[1].Unsure)
	m.Route([]*Lane{nil, y})
	y.Break()
	require.Equal(t, 3, m.Stalled())
}

func TestRefusalsForNow(t *testing.T) {
	for reason, unsure := range map[Reason]bool{NotOwner: false, StorageFull: false, ShuttingDown: false, Unavailable: true} {
		m, l := books(Limits{roomy, roomy})
		all := addAll(m, "a b")
		l.Next(roomy)
		_, err := l.Refused(0, Outcome{Reason: reason, Message: "m"})
		require.NoError(t, err)
		require.Equal(t, "parked sent", states(all))
		require.Equal(t, unsure, all[0].Unsure, reason)
		require.Equal(t, Outcome{Reason: reason, Message: "m"}, all[0].Trouble)
		m.Abandon(all[1])
		_, err = l.Refused(1, Outcome{Reason: reason})
		require.NoError(t, err)
		require.Equal(t, "parked dropped", states(all))
		require.Empty(t, m.TakeDone())
	}
}

func TestMarkTooOld(t *testing.T) {
	m, l := books(Limits{roomy, roomy})
	all := addAll(m, "a b")
	l.Next(roomy)
	_, err := l.Refused(0, Outcome{Reason: MarkTooOld, ID: 90})
	require.NoError(t, err)
	require.Equal(t, "waiting sent", states(all), "sent again at once")
	require.Equal(t, txn.ID(90), all[0].SentMark)
	require.False(t, all[0].Unsure)
	l.Break()
	l.Open()
	l.Next(roomy)
	_, err = l.Refused(0, Outcome{Reason: MarkTooOld, ID: 91}) // b, which was on the stream
	require.NoError(t, err)
	require.Equal(t, "sent parked", states(all), "a resend may not be taken for a first send")
	require.Equal(t, txn.None, all[1].SentMark)
	_, err = l.Refused(1, Outcome{Reason: MarkTooOld, ID: 90})
	require.NoError(t, err)
	require.Equal(t, "parked parked", states(all), "no progress, no hurry")
}

func TestViolations(t *testing.T) {
	for name, act := range map[string]func(*Lane) error{
		"not sent":       func(l *Lane) error { return l.Committed(3, 1, 0, 5) },
		"partly":         func(l *Lane) error { return l.Committed(2, 2, 0, 5) },
		"twice":          func(l *Lane) error { return l.Committed(1, 1, 0, 5) },
		"gone":           func(l *Lane) error { return l.Committed(0, 1, 0, 5) },
		"negative":       func(l *Lane) error { return l.Committed(2, 1, 0, -5) },
		"partition":      func(l *Lane) error { return l.Committed(2, 1, 1, 5) },
		"taken before":   func(l *Lane) error { return l.Committed(2, 1, 0, 3) },
		"overflow":       func(l *Lane) error { return l.Committed(1<<64-1, 2, 0, 5) },
		"refused twice":  func(l *Lane) error { _, err := l.Refused(1, Outcome{Reason: 1}); return err },
		"without reason": func(l *Lane) error { _, err := l.Refused(2, Outcome{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			m, l := books(Limits{roomy, roomy})
			all := addAll(m, "a b c")
			all[2].SentMark = 3
			l.Next(roomy)
			require.NoError(t, l.Committed(0, 2, 0, 1))
			m.TakeDone()
			var violation *ProtocolError
			require.ErrorAs(t, act(l), &violation)
			require.NotEmpty(t, violation.Error())
		})
	}
}

func TestShut(t *testing.T) {
	m, l := books(Limits{4, roomy})
	other := m.NewLane()
	all := addAll(m, "a b")
	l.Next(roomy)
	all = append(all, addAll(m, "c d e")...)
	_, err := l.Refused(0, Outcome{Reason: NotOwner})
	require.NoError(t, err)
	m.Abandon(all[1])
	require.Equal(t, "parked sent waiting waiting held", states(all))
	got := m.Shut([]*Lane{l, other})
	require.Len(t, got, 4, "nobody listens to b")
	require.Equal(t, "dropped dropped dropped dropped dropped", states(all))
	require.Equal(t, fmt.Sprint(true), fmt.Sprint(all[1].Unsure))
	n, bytes := m.Unanswered()
	require.Zero(t, n+bytes+m.Held()+m.Stalled()+l.Waiting()+l.Out())
}
