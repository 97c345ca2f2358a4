package session_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

var self = session.Replica{Incarnation: 7, Start: 3}

// replicaAt returns a replica that has installed session 5 and holds 0–9, the
// last four of session 5, the first five known to be committed.
func replicaAt(t *testing.T) *session.ReplicaState {
	s := session.NewReplicaState(0, self)
	s.ApplyPromise(5)
	for _, f := range []record.Frame{makeFrame(3, 0, 5), makeFrame(5, 6, 9)} {
		span, err := f.Check()
		require.NoError(t, err)
		s.ApplyRecords(f, span)
	}
	s.ApplyInstall(5)
	s.ApplyCommitted(4)
	return s
}

func TestOpen(t *testing.T) {
	for _, test := range []struct {
		name  string
		m     session.Open
		write bool
		why   session.Reason
	}{
		{"a higher session", session.Open{Session: 6}, true, 0},
		{"the same session again", session.Open{Session: 5}, false, 0},
		{"a lower session", session.Open{Session: 4}, false, session.Fenced},
		{"another partition", session.Open{Partition: 1, Session: 6}, false, session.Malformed},
		{"no session", session.Open{}, false, session.Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			write, err := replicaAt(t).CheckOpen(test.m)
			checkRefusal(t, test.why, err)
			require.Equal(t, test.write, write)
		})
	}
}

func checkRefusal(t *testing.T, want session.Reason, err error) {
	t.Helper()
	why, refused := session.Refused(err)
	require.Equal(t, want != 0, refused)
	require.Equal(t, want, why)
	if !refused {
		require.NoError(t, err)
	}
}

func TestTruncate(t *testing.T) {
	for _, test := range []struct {
		name     string
		m        session.Truncate
		promised txn.SessionID
		write    bool
		why      session.Reason
	}{
		{"to where logs agree", session.Truncate{Session: 6, Replica: self, Last: 5}, 6, true, 0},
		{"again", session.Truncate{Session: 6, Replica: self, Last: 9}, 6, false, 0},
		{"below committed", session.Truncate{Session: 6, Replica: self, Last: 3}, 6, false, session.BelowCommitted},
		{"delayed, after Install (rule 6)", session.Truncate{Session: 5, Replica: self, Last: 5}, 5, false, session.AlreadyInstalled},
		{"of an older session", session.Truncate{Session: 5, Replica: self, Last: 5}, 6, false, session.Fenced},
		{"of a session not promised", session.Truncate{Session: 7, Replica: self, Last: 5}, 6, false, session.NotPromised},
		{"to another incarnation (rule 3)", session.Truncate{Session: 6, Replica: session.Replica{Incarnation: 8, Start: 3}, Last: 5}, 6, false, session.Replaced},
		{"to an earlier start (rule 3)", session.Truncate{Session: 6, Replica: session.Replica{Incarnation: 7, Start: 2}, Last: 5}, 6, false, session.Replaced},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := replicaAt(t)
			s.ApplyPromise(test.promised)
			write, err := s.CheckTruncate(test.m)
			checkRefusal(t, test.why, err)
			require.Equal(t, test.write, write)
			if write {
				s.ApplyTruncate(test.m.Last)
				require.Equal(t, txn.SessionID(3), s.LastStamp)
				require.NoError(t, s.Map.Check(s.Last))
			}
		})
	}
}

func TestCopy(t *testing.T) {
	for _, test := range []struct {
		name      string
		promised  txn.SessionID
		prev      txn.ID
		prevStamp txn.SessionID
		f         record.Frame
		write     bool
		why       session.Reason
	}{
		{"what follows", 7, 9, 5, makeFrame(6, 10, 12), true, 0},
		{"again", 7, 6, 5, makeFrame(5, 7, 9), false, 0},
		{"with a gap", 7, 10, 5, makeFrame(6, 11, 12), false, session.Mismatch},
		{"of another log", 7, 9, 4, makeFrame(6, 10, 12), false, session.Mismatch},
		{"a stamp above the session", 7, 9, 5, makeFrame(8, 10, 12), false, session.Malformed},
		{"a stamp below the last", 7, 9, 5, makeFrame(4, 10, 12), false, session.Malformed},
		{"delayed, after Install (rule 6)", 5, 9, 5, makeFrame(5, 10, 12), false, session.AlreadyInstalled},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := replicaAt(t)
			s.ApplyPromise(test.promised)
			span, err := test.f.Check()
			require.NoError(t, err)
			write, err := s.CheckCopy(&session.Copy{Session: test.promised, Replica: self, PrevID: test.prev, PrevStamp: test.prevStamp, Records: test.f}, span)
			checkRefusal(t, test.why, err)
			require.Equal(t, test.write, write)
		})
	}
}

func TestInstall(t *testing.T) {
	for _, test := range []struct {
		name  string
		m     session.Install
		write bool
		why   session.Reason
	}{
		{"at its end", session.Install{Session: 6, Replica: self, Last: 9}, true, 0},
		{"before its end", session.Install{Session: 6, Replica: self, Last: 8}, false, session.Mismatch},
		{"beyond its end", session.Install{Session: 6, Replica: self, Last: 10}, false, session.Mismatch},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := replicaAt(t)
			s.ApplyPromise(6)
			write, err := s.CheckInstall(test.m)
			checkRefusal(t, test.why, err)
			require.Equal(t, test.write, write)
		})
	}
	t.Run("again, after appends", func(t *testing.T) {
		write, err := replicaAt(t).CheckInstall(session.Install{Session: 5, Replica: self, Last: 6})
		require.NoError(t, err)
		require.False(t, write)
	})
}

func TestAppend(t *testing.T) {
	for _, test := range []struct {
		name      string
		promised  txn.SessionID
		prev      txn.ID
		prevStamp txn.SessionID
		f         record.Frame
		write     bool
		why       session.Reason
	}{
		{"what follows", 5, 9, 5, makeFrame(5, 10, 12), true, 0},
		{"again", 5, 7, 5, makeFrame(5, 8, 9), false, 0},
		{"again, the first of the session", 5, 5, 3, makeFrame(5, 6, 7), false, 0},
		{"in part again", 5, 7, 5, makeFrame(5, 8, 12), false, session.Mismatch},
		{"with a gap", 5, 10, 5, makeFrame(5, 11, 12), false, session.Mismatch},
		{"behind another log (I3)", 5, 9, 4, makeFrame(5, 10, 12), false, session.Mismatch},
		{"stamped by another session", 5, 9, 5, makeFrame(6, 10, 12), false, session.Malformed},
		{"before Install", 6, 9, 5, makeFrame(6, 10, 12), false, session.NotInstalled},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := replicaAt(t)
			s.ApplyPromise(test.promised)
			span, err := test.f.Check()
			require.NoError(t, err)
			write, err := s.CheckAppend(&session.Append{Session: test.promised, Replica: self, PrevID: test.prev, PrevStamp: test.prevStamp, Records: test.f}, span)
			checkRefusal(t, test.why, err)
			require.Equal(t, test.write, write)
		})
	}
}

func TestConfirm(t *testing.T) {
	promised := func(s *session.ReplicaState) { s.ApplyPromise(6) }
	for _, test := range []struct {
		name   string
		m      session.Confirm
		before func(*session.ReplicaState)
		why    session.Reason
	}{
		{"the installed session", session.Confirm{Session: 5, Replica: self}, nil, 0},
		{"after a higher one was promised", session.Confirm{Session: 5, Replica: self}, promised, session.Fenced},
		{"before it is installed", session.Confirm{Session: 6, Replica: self}, promised, session.NotInstalled},
		{"a session that was not promised", session.Confirm{Session: 6, Replica: self}, nil, session.NotPromised},
		{"from before a restart", session.Confirm{Session: 5, Replica: session.Replica{Incarnation: 7, Start: 2}}, nil, session.Replaced},
		{"another partition", session.Confirm{Partition: 1, Session: 5, Replica: self}, nil, session.Malformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := replicaAt(t)
			if test.before != nil {
				test.before(s)
			}
			checkRefusal(t, test.why, s.CheckConfirm(test.m))
		})
	}
}

func TestFencedAppendIsRefusedForGood(t *testing.T) {
	s := replicaAt(t)
	s.ApplyPromise(6)
	f := makeFrame(5, 10, 10)
	span, _ := f.Check()
	_, err := s.CheckAppend(&session.Append{Session: 5, Replica: self, PrevID: 9, PrevStamp: 5, Records: f}, span)
	checkRefusal(t, session.Fenced, err)
	require.ErrorContains(t, err, "promised 6")
}

// stamps is a log as a list of stamps, the naive twin of a map.
func drawLog(t *rapid.T, name string, common []txn.SessionID) []txn.SessionID {
	log := append([]txn.SessionID{}, common...)
	stamp := txn.SessionID(1)
	if len(log) > 0 {
		stamp = log[len(log)-1]
	}
	for range rapid.IntRange(0, 12).Draw(t, name) {
		stamp += txn.SessionID(rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "step"))
		log = append(log, stamp)
	}
	return log
}

func mapOf(log []txn.SessionID) (m session.Map) {
	for i, stamp := range log {
		m = m.Extend(stamp, txn.ID(i))
	}
	return m
}

func TestMapAgreesWithAListOfStamps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		log := drawLog(t, "log", nil)
		m := mapOf(log)
		require.NoError(t, m.Check(txn.ID(len(log)-1)))
		for i, stamp := range log {
			require.Equal(t, stamp, m.StampAt(txn.ID(i)))
		}
		require.Zero(t, m.StampAt(txn.None))
		cut := rapid.IntRange(-1, len(log)-1).Draw(t, "cut")
		require.Equal(t, mapOf(log[:cut+1]), append(session.Map(nil), m.Cut(txn.ID(cut))...))
	})
}

// Logs that could exist together agree up to some ID and nowhere above it, save
// that two sessions never write the same (ID, stamp) differently.
func TestAgreementIsTheLastCommonRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		common := drawLog(t, "common", nil)
		a, b := drawLog(t, "a", common), drawLog(t, "b", common)
		want := txn.None
		for i := range min(len(a), len(b)) {
			if a[i] == b[i] {
				want = txn.ID(i)
			}
		}
		require.Equal(t, want, session.Agreement(mapOf(a), txn.ID(len(a)-1), mapOf(b), txn.ID(len(b)-1)))
	})
}

func TestMapRefusesWhatNoLogHas(t *testing.T) {
	require.Error(t, session.Map{}.Check(3))
	require.Error(t, session.Map{{Stamp: 1, First: 0}}.Check(txn.None))
	require.Error(t, session.Map{{Stamp: 1, First: 1}}.Check(3))
	require.Error(t, session.Map{{Stamp: 2, First: 0}, {Stamp: 1, First: 2}}.Check(3))
	require.Error(t, session.Map{{Stamp: 1, First: 0}, {Stamp: 2, First: 4}}.Check(3))
}
