package partition_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
	"github.com/waltz-log/waltz/storage/internal/partition"
)

const start = session.Start(77)

func frame(first txn.ID, n int, stamp txn.SessionID) record.Frame {
	var f record.Frame
	for i := range txn.ID(n) {
		f = record.Append(f, &record.Record{Partition: 1, ID: first + i, Stamp: stamp, Data: make([]byte, 10)}, nil)
	}
	return f
}

func records(first txn.ID, n int, stamp txn.SessionID) journal.Entry {
	f := frame(first, n, stamp)
	return journal.Entry{Kind: journal.Records, Partition: 1, First: first, Last: first + txn.ID(n) - 1, Session: stamp, Committed: first - 1, Body: f}
}

func promise(s txn.SessionID) journal.Entry {
	return journal.Entry{Kind: journal.Promise, Partition: 1, Session: s}
}

func truncate(last txn.ID) journal.Entry {
	return journal.Entry{Kind: journal.Truncate, Partition: 1, Last: last}
}

func flushed(last txn.ID) journal.Entry {
	return journal.Entry{Kind: journal.Flushed, Partition: 1, Last: last}
}

// after returns a replica after some entries.
func after(entries ...journal.Entry) *partition.Replica {
	r := partition.New(1, session.Replica{Incarnation: 5, Start: start})
	for _, e := range entries {
		r.Apply(&e, partition.Chunk{Frame: e.Body})
	}
	return r
}

func TestStateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := partition.New(1, session.Replica{Incarnation: 5, Start: start})
		stamp := txn.SessionID(1)
		for range rapid.IntRange(0, 12).Draw(t, "entries") {
			stamp += txn.SessionID(rapid.IntRange(0, 1).Draw(t, "stamp"))
			e := records(r.Now.Last+1, rapid.IntRange(1, 5).Draw(t, "n"), stamp)
			r.Now.ApplyPromise(stamp)
			r.Apply(&e, partition.Chunk{})
		}
		f := flushed(txn.ID(rapid.IntRange(-1, int(r.Now.Last)).Draw(t, "flushed")))
		r.Apply(&f, partition.Chunk{})
		for i := range rapid.IntRange(0, 3).Draw(t, "ranges") {
			r.AddDamage(&damage.Error{Partition: 1, First: txn.ID(i * 10), Last: txn.ID(i*10 + 3), File: "f", Offset: 9, Reason: "because"})
		}
		if rapid.Bool().Draw(t, "closed") {
			r.Closed = &damage.Error{Partition: 1, First: 3, Last: damage.Unknown, File: "g", Reason: "why"}
		}
		e := r.Encode()
		got, err := partition.Decode(e, start)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%+v", r.Now), fmt.Sprintf("%+v", got.Now))
		require.ElementsMatch(t, r.Damage, got.Damage)
		require.Equal(t, r.Closed, got.Closed)
		require.Equal(t, r.Synced, got.Synced)
		i := rapid.IntRange(0, len(e.Body)*8-1).Draw(t, "bit")
		e.Body[i/8] ^= 1 << (i % 8)
		_, err = partition.Decode(e, start)
		require.Error(t, err)
	})
}

func FuzzDecode(f *testing.F) {
	e := after(records(0, 3, 1)).Encode()
	content, _ := journal.StateContent(e.Body)
	f.Add(content)
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := partition.Decode(journal.Entry{Partition: 1, Body: journal.StateBody(content)}, start)
		if err == nil {
			back, _ := journal.StateContent(r.Encode().Body)
			require.Equal(t, content, back)
		}
	})
}

// Tail, InSegments and Synced always cover the log without a gap, and follow
// truncations.
func TestWhereRecordsAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := partition.New(1, session.Replica{Incarnation: 5})
		for range rapid.IntRange(1, 30).Draw(t, "ops") {
			var e journal.Entry
			switch rapid.IntRange(0, 5).Draw(t, "op") {
			case 0:
				e = truncate(txn.ID(rapid.IntRange(-1, int(r.Now.Last)).Draw(t, "last")))
			case 1:
				r.Flushed(txn.ID(rapid.IntRange(-1, int(r.Now.Last)).Draw(t, "flushed")))
			case 2:
				e = flushed(r.InSegments)
			default:
				e = records(r.Now.Last+1, rapid.IntRange(1, 4).Draw(t, "n"), r.Now.LastStamp+1)
			}
			r.Queue(&e)
			r.Apply(&e, partition.Chunk{Frame: e.Body, Cost: 1})
			require.LessOrEqual(t, r.Synced, r.InSegments)
			require.Equal(t, r.Now.Map, r.Next.Map)
			for id := r.InSegments + 1; id <= r.Now.Last; id++ {
				i := r.Find(id)
				require.Less(t, i, len(r.Tail))
				c := r.Tail[i]
				f := partition.Cut(c.Frame, id, c.Last)
				require.Equal(t, id, f.TrustedID())
				require.Equal(t, r.Now.Map.StampAt(id), first(f).Stamp)
			}
			require.Equal(t, len(r.Tail), r.Find(r.Now.Last+1))
		}
	})
}

func first(f record.Frame) record.Record {
	for r := range f.Trusted() {
		return r
	}
	return record.Record{}
}

func TestFit(t *testing.T) {
	f := frame(0, 5, 1)
	one := f.TrustedLen()
	require.Equal(t, len(f), partition.Fit(f, len(f)))
	require.Equal(t, 4*one, partition.Fit(f, len(f)-1))
	require.Zero(t, partition.Fit(f, one-1))
	require.Equal(t, frame(1, 3, 1), partition.Cut(f, 1, 3))
}

// play replays a script: entries, and what went wrong between them.
func play(script ...any) *partition.Recovery {
	v := partition.NewRecovery("/j", start)
	file := uint64(1)
	for i, step := range script {
		at := journal.Place{File: file, Offset: int64(i) * 4096}
		switch step := step.(type) {
		case journal.Entry:
			if err := v.Entry(step, at, step.Kind == journal.State); err != nil {
				panic(err)
			}
		case lost:
			v.Lost(journal.Entry(step), at, "flipped")
		case string:
			v.Gap(at, step)
		case uint64:
			file = step
		}
	}
	v.End(map[txn.Partition]bool{1: true})
	return v
}

type lost journal.Entry

func state(r *partition.Replica) journal.Entry { return r.Encode() }

// What is closed, what is missing and what is healed, by what was lost and what
// came after.
func TestRecoveryFromDamage(t *testing.T) {
	a, b, c := records(0, 5, 1), records(5, 5, 1), records(10, 5, 1)
	empty := state(after())
	for _, x := range []struct {
		name    string
		script  []any
		last    txn.ID
		missing string // ranges
		closed  bool
	}{
		{"nothing", []any{empty, a, b}, 9, "", false},
		{"records", []any{empty, a, lost(b), c}, 14, "5-9 ", true},
		{"records that the segments have", []any{empty, a, lost(b), flushed(9), c}, 14, "", false},
		{"records of which the segments have a part", []any{empty, a, lost(b), flushed(7), c}, 14, "5-9 ", true},
		{"records that a later opening state knows to be synced", []any{empty, a, lost(b), uint64(2), state(after(a, b, flushed(9))), c}, 14, "", false},
		{"something at the end", []any{empty, a, "gap"}, 4, "", true},
		{"something, records follow on", []any{empty, a, "gap", b}, 9, "", true},
		{"something, records follow behind a hole", []any{empty, a, "gap", c}, 14, "5-9 ", true},
		{"something, a later opening state shows nothing was lost", []any{empty, a, "gap", uint64(2), state(after(a)), b}, 9, "", false},
		{"something, a later opening state knows of a promise", []any{empty, a, "gap", uint64(2), state(after(a, promise(9))), b}, 9, "", false},
		{"something, a later opening state knows of more records", []any{empty, a, "gap", uint64(2), state(after(a, b)), c}, 14, "5-9 ", true},
		{"a truncation", []any{empty, a, b, "gap", uint64(2), state(after(a, b, truncate(6), records(7, 2, 4)))}, 8, "7-8 ", true},
		{"a truncation, records follow", []any{empty, a, b, "gap", records(7, 2, 4)}, 8, "", true},
		{"the first state", []any{"gap", a, b}, -1, "0-∞ ", true},
		{"everything", []any{"gap"}, -1, "0-∞ ", true},
		{"the first state, a later one", []any{"gap", a, uint64(2), state(after(a, b, flushed(6))), c}, 14, "7-9 ", true},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := play(x.script...).Replicas[1]
			require.NotNil(t, r)
			require.Equal(t, x.last, r.Now.Last)
			missing := ""
			for _, d := range r.Damage {
				if d.Last == damage.Unknown {
					missing += fmt.Sprintf("%d-∞ ", d.First)
					continue
				}
				missing += fmt.Sprintf("%d-%d ", d.First, d.Last)
			}
			require.Equal(t, x.missing, missing)
			require.Equal(t, x.closed, r.Closed != nil, "%v", r.Closed)
			if x.closed {
				return
			}
			for id := r.InSegments + 1; id <= r.Now.Last; id++ {
				require.Less(t, r.Find(id), len(r.Tail), "%d", id)
			}
		})
	}
}

// What a process noted as lost stays lost for the next ones.
func TestDamageIsRemembered(t *testing.T) {
	a, b, c := records(0, 5, 1), records(5, 5, 1), records(10, 5, 1)
	r := play(state(after()), a, lost(b), c).Replicas[1]
	again := play(state(r), flushed(14)).Replicas[1]
	require.Len(t, again.Damage, 1)
	require.NotNil(t, again.Closed)
	d, next := again.DamageAt(2)
	require.Nil(t, d)
	require.Equal(t, txn.ID(5), next)
	d, _ = again.DamageAt(9)
	require.NotNil(t, d)
}

// What is cleared of damage, and what of it stays, against a set of IDs; more
// ranges than are remembered become fewer, and none of them is forgotten.
func TestDamageAgainstASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := after(records(0, 5, 1))
		r.Now.Last = 5000
		want := map[txn.ID]bool{}
		many := rapid.Bool().Draw(t, "many")
		if many {
			for id := txn.ID(0); id < 3000; id += 2 {
				r.AddDamage(&damage.Error{Partition: 1, First: id, Last: id})
				want[id] = true
			}
			require.LessOrEqual(t, len(r.Damage), 1000)
		}
		for range rapid.IntRange(1, 20).Draw(t, "ops") {
			first := txn.ID(rapid.IntRange(0, 60).Draw(t, "first"))
			last := first + txn.ID(rapid.IntRange(0, 20).Draw(t, "n"))
			switch rapid.IntRange(0, 3).Draw(t, "op") {
			case 0:
				moves := r.Moves
				r.ClearDamage(first, last)
				require.Greater(t, r.Moves, moves)
				for id := first; id <= last; id++ {
					delete(want, id)
				}
			case 1:
				e := truncate(last)
				r.Apply(&e, partition.Chunk{})
				r.Now.Last = 5000
				for id := range want {
					if id > last {
						delete(want, id)
					}
				}
			default:
				r.AddDamage(&damage.Error{Partition: 1, First: first, Last: last})
				for id := first; id <= last; id++ {
					want[id] = true
				}
			}
		}
		for id := range txn.ID(3000) {
			d, _ := r.DamageAt(id)
			if many {
				require.True(t, d != nil || !want[id], "%d", id)
			} else {
				require.Equal(t, want[id], d != nil, "%d", id)
			}
		}
	})
}

// A reset, and everything that is done to a replica's service and damage, is the
// same whether it is applied as it happens or replayed, behind damage too.
func TestResetIsReplayed(t *testing.T) {
	reset := func(last txn.ID) journal.Entry {
		return journal.Entry{Kind: journal.Reset, Partition: 1, Session: 99, Last: last}
	}
	service := func(s partition.Service) journal.Entry {
		return journal.Entry{Kind: journal.Service, Partition: 1, Session: txn.SessionID(s)}
	}
	gone := journal.Entry{Kind: journal.Gone, Partition: 1}
	bad := partition.Mark(&damage.Error{Partition: 1, First: 2, Last: 3, File: "f", Offset: 9, Reason: "because"})
	mended := journal.Entry{Kind: journal.Repaired, Partition: 1, First: 0, Last: 4}
	a, b, empty := records(0, 5, 1), records(5, 5, 2), state(after())
	for _, x := range []struct {
		name    string
		script  []any
		self    session.Incarnation // 0: there is no replica
		last    txn.ID
		damaged int
		closed  bool
		service partition.Service
	}{
		{"reset", []any{empty, a, b, reset(6)}, 99, 6, 0, false, partition.InService},
		{"reset to nothing", []any{empty, a, b, reset(-1)}, 99, -1, 0, false, partition.InService},
		{"reset behind something lost", []any{empty, a, "gap", reset(3)}, 99, 3, 0, false, partition.InService},
		{"reset of one whose state was lost", []any{state(after()), "gap", uint64(2), reset(-1)}, 99, -1, 0, false, partition.InService},
		{"reset that kept what is lost now", []any{empty, "gap", reset(4)}, 0, -1, 1, true, partition.InService},
		{"something lost behind a reset", []any{empty, a, reset(3), "gap"}, 99, 3, 0, true, partition.InService},
		{"reset of a damaged one", []any{empty, a, b, flushed(9), bad, reset(1)}, 99, 1, 0, false, partition.InService},
		{"damage", []any{empty, a, b, flushed(9), bad}, 5, 9, 1, false, partition.InService},
		{"damage outlives a checkpoint", []any{empty, a, flushed(4), bad, b, flushed(9)}, 5, 9, 1, false, partition.InService},
		{"repaired", []any{empty, a, b, flushed(9), bad, mended}, 5, 9, 0, false, partition.InService},
		{"damage that was cut", []any{empty, a, flushed(4), bad, truncate(1)}, 5, 1, 0, false, partition.InService},
		{"out of service", []any{empty, a, service(partition.OutOfService)}, 5, 4, 0, false, partition.OutOfService},
		{"out of service and reset", []any{empty, a, service(partition.OutOfService), reset(4)}, 99, 4, 0, false, partition.OutOfService},
		{"unassigned", []any{empty, a, service(partition.Unassigned)}, 5, 4, 0, false, partition.Unassigned},
		{"taken up again", []any{empty, a, service(partition.Unassigned), reset(4)}, 99, 4, 0, false, partition.InService},
		{"removing", []any{empty, a, service(partition.Removing)}, 5, -1, 0, false, partition.Removing},
		{"gone and made again", []any{empty, a, service(partition.Removing), gone, empty}, 5, -1, 0, false, partition.InService},
	} {
		t.Run(x.name, func(t *testing.T) {
			r := play(x.script...).Replicas[1]
			require.NotNil(t, r)
			require.Equal(t, x.self, r.Now.Self.Incarnation)
			require.Equal(t, x.last, r.Now.Last)
			require.Len(t, r.Damage, x.damaged)
			require.Equal(t, x.closed, r.Closed != nil)
			require.Equal(t, x.service, r.Service)
			require.Equal(t, x.service, r.NextService)
			back, err := partition.Decode(r.Encode(), start)
			require.NoError(t, err)
			require.Equal(t, x.service, back.Service)
		})
	}
}
