package session_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// log is the promise of a replica with session installed, whose last records have a
// stamp.
func log(installed, stamp txn.SessionID, last txn.ID) session.Promise {
	p := session.Promise{Installed: installed, Last: last, Committed: last - 1}
	if last > txn.None {
		p.Map = session.Map{{Stamp: stamp}}
	}
	return p
}

// What is kept is the log that reaches the latest session, by installing it or by
// what a newcomer was copied, and of several such the longest.
func TestFullerLogIsKept(t *testing.T) {
	for _, c := range []struct {
		name        string
		full, other session.Promise
	}{
		{"longer", log(3, 3, 9), log(3, 3, 8)},
		{"newcomer with more", log(0, 3, 9), log(3, 3, 8)},
		{"later session, shorter", log(4, 3, 5), log(3, 3, 8)},
		{"a record", log(0, 1, 0), log(0, 0, txn.None)},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.True(t, c.full.Fuller(c.other))
			require.False(t, c.other.Fuller(c.full))
			require.False(t, c.full.Fuller(c.full))
		})
	}
}

// A replica that was given up knows records to be committed that are no more.
func TestTrustedUpTo(t *testing.T) {
	kept := session.Recovery{Session: 5, Last: 6, Installed: 4, Opened: 4}
	stale := session.Recovery{Session: 5, Last: 6, Installed: 3, Opened: 4}
	for _, c := range []struct {
		name       string
		recoveries []session.Recovery
		of         session.Promise
		want       txn.ID
	}{
		{"nothing was given up", nil, log(4, 4, 10), 9},
		{"it was given up", []session.Recovery{kept}, log(4, 4, 10), 6},
		{"it knows less", []session.Recovery{kept}, log(4, 4, 5), 4},
		{"it has heard of it", []session.Recovery{kept}, log(6, 4, 10), 9},
		{"for a stale log", []session.Recovery{stale}, log(4, 4, 10), txn.None},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, session.PartitionState{Recoveries: c.recoveries}.Trusted(c.of))
		})
	}
}

// A recovery claims a session, so that whoever has one open hears of it and loses its
// next compare-and-set; and it says what it was.
func TestRecover(t *testing.T) {
	before := session.PartitionState{Session: 7, Opened: 6, Target: []string{"s1", "s2"}, Members: []session.Member{
		{Storage: "s1", Incarnation: 1, Installed: 6}, {Storage: "s2", Incarnation: 2, Installed: 6}, {Storage: "s3", Incarnation: 3},
	}}
	kept := session.Member{Storage: "s3", Incarnation: 4, Installed: 5}
	m := before.Recover(kept, session.Recovery{Last: 8, LastStamp: 5})
	require.Equal(t, txn.SessionID(8), m.Session)
	require.Equal(t, txn.SessionID(6), m.Opened)
	require.Equal(t, []session.Member{kept}, m.Members)
	require.Equal(t, []string{"s3"}, m.Target)
	require.Equal(t, []session.Recovery{{Session: 8, Kept: "s3", Last: 8, LastStamp: 5, Installed: 5, Opened: 6, Gone: []string{"s1", "s2"}}}, m.Recoveries)
	require.Len(t, before.Members, 3)
	for range 40 {
		m = m.Recover(kept, session.Recovery{})
	}
	require.Len(t, m.Recoveries, 16)
	require.Equal(t, txn.None, m.Trusted(log(6, 6, 10)), "what is forgotten is not trusted")
}
