// Package partition is what a storage holds in memory of one replica: the state
// that the protocol's rules look at, where its records are, and what is damaged.
// It is pure: no I/O, no lock, no goroutine; the storage calls it under its own.
//
// Two states, because appends are pipelined. Next has everything that was put
// into the journal's queue, and messages are checked against it. Now has what
// the journal holds on disk, and is what answers and reads see. Both move by the
// same entries: Queue moves Next, Apply moves Now, and recovery replays with
// Apply alone.
//
// Where records are: up to InSegments in the segments, behind it in Tail. Up to
// Synced the segments were synced. InSegments and Tail have no gap between
// them, but for damage.
package partition

import (
	"cmp"
	"slices"
	"sort"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
)

// Replica is one replica. Not safe for concurrent use.
type Replica struct {
	Next, Now  session.ReplicaState
	Tail       []Chunk // records behind InSegments, in order
	InSegments txn.ID
	Synced     txn.ID
	NextCuts   uint64 // truncations queued
	Cuts       uint64 // truncations applied
	Moves      uint64 // changes to where records are that were there before
	Damage     []*damage.Error
	Closed     *damage.Error // takes no messages any more, and why

	Service, NextService Service // as the journal holds it, and as queued
}

// Service says whether a replica takes messages.
type Service uint8

// What a replica may be. The numbers are on the disk.
const (
	InService    Service = iota // takes messages
	OutOfService                // takes none, keeps its promises
	Unassigned                  // is none any more; its files are kept for the next one
	Removing                    // is none any more; its files are being removed
	serviceMax   = Removing
)

// afterReset is what a reset makes of it: who is out of service stays so.
func (s Service) afterReset() Service {
	if s == OutOfService {
		return s
	}
	return InService
}

// Chunk is a frame that is not in a segment yet.
type Chunk struct {
	First, Last txn.ID       // Last may be lower than the frame's, after a truncation
	Frame       record.Frame // nil: only in the journal
	At          journal.Place
	Len         int // bytes in the journal
	Cost        int // bytes of memory that it keeps
}

// New returns a replica that was just created.
func New(p txn.Partition, self session.Replica) *Replica {
	return FromState(*session.NewReplicaState(p, self))
}

// FromState returns a replica with all records in synced segments.
func FromState(s session.ReplicaState) *Replica {
	r := &Replica{Now: s, InSegments: s.Last, Synced: s.Last}
	r.Settle()
	return r
}

// Settle makes Next equal to Now: recovery ends with it.
func (r *Replica) Settle() {
	r.Next = r.Now
	r.Next.Map = r.Now.Map.Clone()
	r.NextCuts, r.NextService = r.Cuts, r.Service
}

// Queue moves Next by an entry that was put into the journal's queue.
func (r *Replica) Queue(e *journal.Entry) {
	step(&r.Next, e)
	switch e.Kind {
	case journal.Truncate:
		r.NextCuts++
	case journal.Reset:
		r.NextCuts++
		r.NextService = r.NextService.afterReset()
	case journal.Service:
		r.NextService = Service(e.Session)
		if r.NextService == Removing {
			r.NextCuts++
		}
	}
}

// Apply moves Now by an entry that the journal holds on disk. For records, c
// says where they are; its IDs are filled in here. It returns how many bytes of
// memory a truncation gave back.
func (r *Replica) Apply(e *journal.Entry, c Chunk) (freed int) {
	step(&r.Now, e)
	switch e.Kind {
	case journal.Records:
		c.First, c.Last = e.First, e.Last
		r.Tail = append(r.Tail, c)
	case journal.Truncate:
		freed = r.truncate(e.Last)
	case journal.Flushed:
		freed = r.Flushed(min(e.Last, r.Now.Last))
		r.Synced = max(r.Synced, r.InSegments)
	case journal.Reset:
		freed = r.truncate(e.Last)
		r.Damage, r.Closed, r.Service = nil, nil, r.Service.afterReset()
	case journal.Service:
		if r.Service = Service(e.Session); r.Service == Removing {
			freed = r.truncate(txn.None)
			r.Damage, r.Closed = nil, nil
		}
	case journal.Repaired:
		r.ClearDamage(e.First, e.Last)
	}
	return freed
}

func step(s *session.ReplicaState, e *journal.Entry) {
	switch e.Kind {
	case journal.Promise:
		s.ApplyPromise(e.Session)
	case journal.Install:
		s.ApplyInstall(e.Session)
	case journal.Truncate:
		s.ApplyTruncate(e.Last)
	case journal.Reset:
		reset(s, e)
	case journal.Service:
		if Service(e.Session) == Removing {
			s.ApplyTruncate(txn.None)
			s.Committed = txn.None
		}
	case journal.Records:
		s.ApplyRecords(e.Body, record.Span{Partition: e.Partition, First: e.First, Last: e.Last, LastStamp: e.Session})
		s.ApplyCommitted(e.Committed)
	}
}

// reset makes s the state of another replica with the same log up to e.Last. It
// has installed nothing, and of what is committed it knows nothing, so that
// whatever a session adopts may replace what it holds. Its promise it keeps: no
// incarnation of a replica goes back on one (I3).
func reset(s *session.ReplicaState, e *journal.Entry) {
	s.ApplyTruncate(e.Last)
	s.Self.Incarnation = session.Incarnation(e.Session)
	s.Installed, s.Committed = 0, txn.None
	if mutant.On("reset-forgets-promise") {
		s.Promised = 0
	}
}

// truncate drops what lies above last.
func (r *Replica) truncate(last txn.ID) (freed int) {
	r.Cuts++
	r.Moves++
	r.InSegments, r.Synced = min(r.InSegments, last), min(r.Synced, last)
	n := sort.Search(len(r.Tail), func(i int) bool { return r.Tail[i].First > last })
	for _, c := range r.Tail[n:] {
		freed += c.Cost
	}
	clear(r.Tail[n:]) // lets go of the frames
	r.Tail = r.Tail[:n]
	if n := len(r.Tail); n > 0 && r.Tail[n-1].Last > last {
		r.Tail[n-1].Last = last
	}
	r.dropDamage(last)
	return freed
}

// dropDamage forgets damage above last: other records will stand there.
func (r *Replica) dropDamage(last txn.ID) {
	r.Damage = slices.DeleteFunc(r.Damage, func(d *damage.Error) bool { return d.First > last })
	for i, d := range r.Damage {
		if d.Last > last {
			left := *d
			left.Last = last
			r.Damage[i] = &left
		}
	}
}

// Flushed says that the segments hold everything up to last, and returns how
// many bytes of memory that gave back.
func (r *Replica) Flushed(last txn.ID) (cost int) {
	if last <= r.InSegments {
		return 0
	}
	r.InSegments = last
	r.Moves++
	n := sort.Search(len(r.Tail), func(i int) bool { return r.Tail[i].Last > last })
	for _, c := range r.Tail[:n] {
		cost += c.Cost
	}
	r.Tail = append(r.Tail[:0:0], r.Tail[n:]...) // lets go of the frames
	return cost
}

// Find returns the index in Tail of the chunk with a record, len(Tail) if there
// is none.
func (r *Replica) Find(id txn.ID) int {
	i := sort.Search(len(r.Tail), func(i int) bool { return r.Tail[i].Last >= id })
	if i < len(r.Tail) && r.Tail[i].First > id {
		return len(r.Tail)
	}
	return i
}

// DamageAt returns the damage that covers a record, and the first record above
// id that is damaged, txn.ID's greatest if none is.
func (r *Replica) DamageAt(id txn.ID) (d *damage.Error, next txn.ID) {
	next = damage.Unknown
	for _, d := range r.Damage {
		if d.First <= id && id <= d.Last {
			return d, id
		}
		if d.First > id {
			next = min(next, d.First)
		}
	}
	return nil, next
}

// AddDamage notes damage, unless it is known already.
func (r *Replica) AddDamage(d *damage.Error) bool {
	for _, old := range r.Damage {
		if old.First <= d.First && d.Last <= old.Last {
			return false
		}
	}
	r.Damage = append(r.Damage, d)
	if len(r.Damage) > damageMax {
		r.mergeDamage()
	}
	return true
}

// damageMax bounds how many ranges a replica remembers: beyond it two neighbours
// become one, and what lies between them is refused, too, until it is repaired.
const damageMax = 1000

// mergeDamage makes one range of the two that are next to each other.
func (r *Replica) mergeDamage() {
	all := slices.Clone(r.Damage)
	slices.SortFunc(all, func(a, b *damage.Error) int { return cmp.Compare(a.First, b.First) })
	best := 0
	for i := range len(all) - 1 {
		if all[i+1].First-all[i].Last < all[best+1].First-all[best].Last {
			best = i
		}
	}
	merged := *all[best]
	merged.Last = max(merged.Last, all[best+1].Last)
	all[best] = &merged
	r.Damage = slices.Delete(all, best+1, best+2)
}

// ClearDamage forgets damage to records first to last.
func (r *Replica) ClearDamage(first, last txn.ID) {
	r.Moves++
	var left []*damage.Error
	for _, d := range r.Damage {
		if d.First > last || d.Last < first {
			left = append(left, d)
			continue
		}
		if d.First < first {
			before := *d
			before.Last = first - 1
			left = append(left, &before)
		}
		if d.Last > last {
			behind := *d
			behind.First = last + 1
			left = append(left, &behind)
		}
	}
	r.Damage = left
}

// Cut returns the part of a trusted frame that has the records first..last,
// whole records only.
func Cut(f record.Frame, first, last txn.ID) record.Frame {
	for len(f) > 0 && f.TrustedID() < first {
		f = f[f.TrustedLen():]
	}
	end := 0
	for end < len(f) && f[end:].TrustedID() <= last {
		end += f[end:].TrustedLen()
	}
	return f[:end:end]
}

// Fit returns how many bytes of whole records at the start of a trusted frame
// fit into bytesMax.
func Fit(f record.Frame, bytesMax int) int {
	if len(f) <= bytesMax {
		return len(f)
	}
	end := 0
	for end < len(f) && end+f[end:].TrustedLen() <= bytesMax {
		end += f[end:].TrustedLen()
	}
	return end
}
