package admin

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/metadata"
)

// holds is the answer of a storage whose replica has incarnation 1 and a log of runs.
func holds(installed txn.SessionID, last txn.ID, log ...session.StampStart) answer {
	return answer{address: "a:1", replicas: map[txn.Partition]storageclient.Replica{0: {
		Promise: session.Promise{Replica: session.Replica{Incarnation: 1}, Promised: installed, Installed: installed, Last: last, Map: log},
	}}}
}

func with(a answer, change func(r *storageclient.Replica)) answer {
	r := a.replicas[0]
	change(&r)
	return answer{address: a.address, replicas: map[txn.Partition]storageclient.Replica{0: r}}
}

// three are the members of session 5; s4 is a newcomer.
func three() metadata.PartitionState {
	m := metadata.PartitionState{Session: 5, Opened: 5, Target: []string{"s1", "s2", "s4"}}
	for _, name := range []string{"s1", "s2", "s3"} {
		m.Members = append(m.Members, metadata.Member{Storage: name, Incarnation: 1, Installed: 5})
	}
	return m
}

var (
	silent = answer{err: context.DeadlineExceeded}
	nobody = answer{err: context.DeadlineExceeded, deserted: true}
	sound  = holds(5, 10, session.StampStart{Stamp: 4}, session.StampStart{Stamp: 5, First: 8})
	none   = answer{replicas: map[txn.Partition]storageclient.Replica{}}
)

// A member is given up only if it is known to be lost: by its machine, by what came
// back instead of it, or by the operator's word.
func TestOnlyLostMembersAreGivenUp(t *testing.T) {
	off := with(sound, func(r *storageclient.Replica) { r.Service = storageclient.OutOfService })
	wiped := with(sound, func(r *storageclient.Replica) { r.Promise.Replica.Incarnation = 2 })
	rolledBack := holds(4, 3, session.StampStart{Stamp: 4})
	closed := with(sound, func(r *storageclient.Replica) { r.Closed = &wire.StorageDamage{} })
	for _, c := range []struct {
		name   string
		s2, s3 answer
		lost   []string
		err    string
	}{
		{name: "nobody listens", s2: nobody, s3: nobody},
		{name: "without replica", s2: none, s3: nobody},
		{name: "wiped", s2: wiped, s3: nobody},
		{name: "rolled back", s2: rolledBack, s3: nobody},
		{name: "journal damaged", s2: closed, s3: nobody},
		{name: "removed from the metadata", s2: answer{}, s3: nobody},
		{name: "wiped, out of service", s2: with(wiped, func(r *storageclient.Replica) { r.Service = storageclient.OutOfService }), s3: nobody},
		{name: "majority", s2: sound, s3: nobody, err: "a majority of partition 0 answers"},
		{name: "silent", s2: silent, s3: nobody, err: "storage s2 gives no answer"},
		{name: "all silent", s2: silent, s3: silent, err: "--lost s3"},
		{name: "silent, and lost by word", s2: silent, s3: silent, lost: []string{"s2", "s3"}},
		{name: "one word too few", s2: silent, s3: silent, lost: []string{"s2"}, err: "--lost s3"},
		{name: "the word is wrong", s2: silent, s3: nobody, lost: []string{"s1"}, err: "storage s1 answers"},
		{name: "the word is of nobody", s2: silent, s3: nobody, lost: []string{"s4"}, err: "no member"},
		{name: "out of service", s2: off, s3: nobody, err: "waltz storage availability on --storage a:1 --partition 0"},
		{name: "out of service by word", s2: off, s3: nobody, lost: []string{"s2"}, err: "only out of service"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := three()
			report, err := (&Cluster{}).recover(0, &m, map[string]answer{"s1": sound, "s2": c.s2, "s3": c.s3, "s4": none}, Recover{Lost: c.lost})
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				require.Equal(t, three(), m)
				return
			}
			require.NoError(t, err)
			require.Equal(t, "s1", report.Recovery.Kept)
			require.Equal(t, []metadata.Member{{Storage: "s1", Incarnation: 1, Installed: 5}}, m.Members)
		})
	}
}

// The log that has most is kept, unless the operator says another.
func TestWhichLogIsKept(t *testing.T) {
	run := func(stamp txn.SessionID, first txn.ID) session.StampStart {
		return session.StampStart{Stamp: stamp, First: first}
	}
	for _, c := range []struct {
		name   string
		s1, s4 answer
		keep   string
		want   string // empty: refused
		loss   string
	}{
		{name: "the newcomer was copied to completely", s1: sound, s4: holds(0, 20, run(4, 0), run(5, 8)), want: "s4"},
		{name: "the newcomer has less", s1: sound, s4: holds(0, 9, run(4, 0), run(5, 8)), want: "s1"},
		{name: "the excess is of a session that was cut", s1: holds(5, 7, run(4, 0)), s4: holds(4, 12, run(4, 0)), want: "s1", loss: "storage s4 holds transactions 8 to 12"},
		{name: "a later session", s1: holds(5, 30, run(4, 0), run(5, 8)), s4: holds(6, 9, run(4, 0), run(5, 8)), want: "s4", loss: "storage s1 holds transactions 10 to 30"},
		{name: "by hand", s1: sound, s4: holds(0, 20, run(4, 0), run(5, 8)), keep: "s1", want: "s1", loss: "--keep s4"},
		{name: "by hand, without records", s1: sound, s4: none, keep: "s4"},
		{name: "by hand, nobody", s1: sound, s4: none, keep: "s9"},
		{name: "nobody has records", s1: holds(5, txn.None), s4: none},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := three()
			report, err := (&Cluster{}).recover(0, &m, map[string]answer{"s1": c.s1, "s2": nobody, "s3": nobody, "s4": c.s4}, Recover{Keep: c.keep})
			if c.want == "" {
				require.ErrorIs(t, err, ErrRefused)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, report.Recovery.Kept)
			require.Equal(t, c.want, m.Members[0].Storage)
			if c.loss == "" {
				require.NotContains(t, report.Losses[0], "holds transactions")
				return
			}
			require.Contains(t, report.Losses[0], c.loss)
		})
	}
}
