package partition

import (
	"fmt"
	"path"
	"slices"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
)

// Recovery builds replicas from a replayed journal. Without damage it applies
// entry after entry. With damage it keeps going, notes what is missing, and
// closes every replica of which something may be missing: a promise that is lost
// could be broken (I3), and a replica that lacks records may not vote for them.
//
// A damaged place that can't be read makes every replica suspect. It is cleared
// when a later file's opening state shows that nothing of it was lost.
type Recovery struct {
	Replicas map[txn.Partition]*Replica
	Start    session.Start
	Dir      string // of the journal, for messages

	// Unknown are partitions whose state was lost.
	Unknown map[txn.Partition]*damage.Error
	// Gaps are places that could not be read.
	Gaps []*damage.Error
	// Oddities are places where damage lost nothing.
	Oddities []*damage.Error

	suspects  map[txn.Partition]*damage.Error // may have lost something there
	permanent map[*damage.Error]bool          // ranges that an earlier process knew
	first     uint64                          // the oldest file
	seen      bool
}

// NewRecovery returns a recovery of nothing yet.
func NewRecovery(dir string, start session.Start) *Recovery {
	return &Recovery{
		Replicas: map[txn.Partition]*Replica{}, Start: start, Dir: dir,
		Unknown: map[txn.Partition]*damage.Error{}, suspects: map[txn.Partition]*damage.Error{}, permanent: map[*damage.Error]bool{},
	}
}

var _ journal.Replayer = (*Recovery)(nil)

// Entry applies an entry.
func (v *Recovery) Entry(e journal.Entry, at journal.Place, opens bool) error {
	v.begin(at)
	if e.Kind == journal.State {
		return v.state(e, at, opens)
	}
	if e.Kind == journal.Reset || e.Kind == journal.Gone {
		return v.anew(e, at)
	}
	r := v.Replicas[e.Partition]
	if r == nil {
		if len(v.Gaps) == 0 && v.Unknown[e.Partition] == nil {
			return fmt.Errorf("partition %d was never created", e.Partition)
		}
		v.unknown(e.Partition, at, "its state was lost")
		return nil
	}
	if e.Kind == journal.Records && e.First != r.Now.Last+1 {
		v.mend(r, e.First, at)
	}
	switch e.Kind {
	case journal.Flushed:
		v.heal(r, e.Last)
	case journal.Damaged:
		return v.marked(r, e)
	}
	v.apply(r, &e, Chunk{At: at, Len: len(e.Body)})
	return nil
}

// apply applies an entry. What it leaves of a range that an earlier process knew
// is one of those, too.
func (v *Recovery) apply(r *Replica, e *journal.Entry, c Chunk) {
	before := slices.Clone(r.Damage)
	r.Apply(e, c)
	for _, d := range r.Damage {
		if slices.Contains(before, d) {
			continue
		}
		v.permanent[d] = slices.ContainsFunc(before, func(b *damage.Error) bool {
			return v.permanent[b] && b.First <= d.First && d.Last <= b.Last
		})
	}
}

// anew begins a replica anew, or ends it: whatever was lost of it before does not
// matter any more.
func (v *Recovery) anew(e journal.Entry, at journal.Place) error {
	r := v.Replicas[e.Partition]
	delete(v.Unknown, e.Partition)
	delete(v.suspects, e.Partition)
	if e.Kind == journal.Gone {
		delete(v.Replicas, e.Partition)
		return nil
	}
	if r == nil {
		r = New(e.Partition, session.Replica{Start: v.Start})
		v.Replicas[e.Partition] = r
	}
	if e.Last > r.Now.Last { // what was kept was known to a process that read more of the journal
		delete(v.Replicas, e.Partition)
		v.unknown(e.Partition, at, "what its reset kept was lost")
		return nil
	}
	r.Apply(&e, Chunk{})
	return nil
}

// marked takes damage that an earlier process found.
func (v *Recovery) marked(r *Replica, e journal.Entry) error {
	d, err := mark(&e)
	if err != nil {
		return err
	}
	if d.First <= r.Now.Last {
		r.AddDamage(d)
		v.permanent[d] = true
	}
	return nil
}

func (v *Recovery) begin(at journal.Place) {
	if !v.seen {
		v.seen, v.first = true, at.File
	}
}

// state takes a replica's state: that of the beginning, a new replica's, or one
// to compare with.
func (v *Recovery) state(e journal.Entry, at journal.Place, opens bool) error {
	s, err := Decode(e, v.Start)
	if err != nil {
		return err
	}
	old := v.Replicas[e.Partition]
	switch {
	case old == nil && (!opens || at.File == v.first && len(v.Gaps) == 0):
		// What precedes the oldest file was freed because segments have it, synced.
		s.InSegments, s.Synced = s.Now.Last, s.Now.Last
	case old == nil:
		v.lost(s, s.Synced+1, s.Now.Last, at, "the journal before it was lost")
	default:
		v.reconcile(old, s, at)
	}
	for _, d := range s.Damage {
		v.permanent[d] = true
	}
	delete(v.Unknown, e.Partition)
	delete(v.suspects, e.Partition)
	v.Replicas[e.Partition] = s
	return nil
}

// reconcile carries over to s, a state from the journal, what was replayed
// before it, and finds what is missing.
func (v *Recovery) reconcile(old, s *Replica, at journal.Place) {
	agreed := session.Agreement(old.Now.Map, old.Now.Last, s.Now.Map, s.Now.Last)
	v.heal(old, s.Synced)
	old.Flushed(min(s.Synced, old.Now.Last))
	if agreed < old.Now.Last {
		old.truncate(agreed) // entries were lost that truncated it
	}
	s.Tail, s.Cuts, s.Moves = old.Tail, old.Cuts, old.Moves
	s.InSegments = max(old.InSegments, s.Synced)
	for _, d := range old.Damage {
		s.AddDamage(d)
	}
	if s.Closed == nil && len(s.Damage) > 0 {
		s.Closed = old.Closed
	}
	v.lost(s, max(agreed, s.InSegments)+1, s.Now.Last, at, "entries before it were lost")
}

// mend makes a replica's state fit a frame that does not continue it, because
// entries before it were lost.
func (v *Recovery) mend(r *Replica, first txn.ID, at journal.Place) {
	if first <= r.Now.Last {
		r.Now.ApplyTruncate(first - 1)
		r.truncate(first - 1)
	}
	v.lost(r, r.Now.Last+1, first-1, at, "entries before it were lost")
	if r.Closed == nil {
		r.Closed = v.place(r.Now.Partition, first, damage.Unknown, at, "entries before it were lost")
	}
	r.Now.Last = first - 1
}

// lost notes that records are missing.
func (v *Recovery) lost(r *Replica, first, last txn.ID, at journal.Place, why string) {
	if first > last {
		return
	}
	d := v.place(r.Now.Partition, first, last, at, why)
	r.AddDamage(d)
	if r.Closed == nil {
		r.Closed = d
	}
}

// heal forgets lost records that the segments turn out to have, synced.
func (v *Recovery) heal(r *Replica, synced txn.ID) {
	healed := false
	r.Damage = slices.DeleteFunc(r.Damage, func(d *damage.Error) bool {
		ok := d.Last <= synced && !v.permanent[d]
		healed = healed || ok
		return ok
	})
	if healed && len(r.Damage) == 0 && r.Closed != nil && r.Closed.Last != damage.Unknown {
		r.Closed = nil
	}
}

// Lost notes an entry with a damaged body.
func (v *Recovery) Lost(e journal.Entry, at journal.Place, why string) {
	v.begin(at)
	r := v.Replicas[e.Partition]
	switch {
	case r == nil:
		v.unknown(e.Partition, at, why)
	case e.Kind == journal.Records:
		if e.First != r.Now.Last+1 {
			v.mend(r, e.First, at)
		}
		v.lost(r, e.First, e.Last, at, why)
		r.Now.Map = r.Now.Map.Extend(max(e.Session, r.Now.LastStamp), e.First)
		r.Now.Last, r.Now.LastStamp = e.Last, max(e.Session, r.Now.LastStamp)
		r.Now.ApplyCommitted(e.Committed)
	default:
		v.Oddities = append(v.Oddities, v.place(e.Partition, 0, txn.None, at, why))
	}
}

// Gap makes every replica suspect.
func (v *Recovery) Gap(at journal.Place, why string) {
	v.begin(at)
	v.Gaps = append(v.Gaps, v.place(0, 0, damage.Unknown, at, why))
	for p, r := range v.Replicas {
		if v.suspects[p] == nil {
			v.suspects[p] = v.place(p, r.Now.Last+1, damage.Unknown, at, why)
		}
	}
}

// Odd notes damage that lost nothing.
func (v *Recovery) Odd(at journal.Place, why string) {
	v.Oddities = append(v.Oddities, v.place(0, 0, txn.None, at, why))
}

func (v *Recovery) unknown(p txn.Partition, at journal.Place, why string) {
	if v.Unknown[p] == nil {
		v.Unknown[p] = v.place(p, 0, damage.Unknown, at, why)
	}
}

func (v *Recovery) place(p txn.Partition, first, last txn.ID, at journal.Place, why string) *damage.Error {
	name := journal.MarkName
	if at.File > 0 {
		name = journal.FileName(at.File)
	}
	return &damage.Error{Partition: p, First: first, Last: last, File: path.Join(v.Dir, name), Offset: at.Offset, Reason: why}
}

// End closes what is still suspect, and what has records on disk but no state.
// onDisk are the partitions with a folder, and whether it has segments.
func (v *Recovery) End(onDisk map[txn.Partition]bool) {
	for p, d := range v.suspects {
		if r := v.Replicas[p]; r.Closed == nil {
			d.First = min(d.First, r.Now.Last+1)
			r.Closed = d
		}
	}
	for p, segments := range onDisk {
		if v.Replicas[p] == nil && v.Unknown[p] == nil && (segments || len(v.Gaps) > 0) {
			v.unknown(p, journal.Place{File: v.first}, "its state is not in the journal")
		}
	}
	for p, d := range v.Unknown {
		r := New(p, session.Replica{Start: v.Start})
		r.Closed, r.Damage = d, []*damage.Error{d}
		v.Replicas[p] = r
	}
	for _, r := range v.Replicas {
		r.Settle()
	}
}
