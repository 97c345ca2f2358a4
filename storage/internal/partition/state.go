package partition

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/storage/internal/damage"
	"github.com/waltz-log/waltz/storage/internal/journal"
)

// The content of a journal entry of kind State, little endian:
//
//	offset size
//	     0    8  incarnation
//	     8    8  promised
//	    16    8  installed
//	    24    8  last ID
//	    32    8  last stamp
//	    40    8  committed
//	    48    8  synced: up to here the segments are on disk
//	    56    4  number of entries of the session map
//	    60    4  number of damaged ranges
//	    64    4  flags; bit 0: closed, the replica takes no messages;
//	             bits 1 and 2: its Service
//	    68    4  zero
//	    72  16n  session map: stamp, first ID
//	     .    .  damaged ranges: first ID, last ID, offset (8 each),
//	             length of file name and of reason (2 each), file name, reason;
//	             if closed, one more: why
const (
	stateFixed = 72
	flagClosed = 1
)

// Encode returns the entry that describes the replica as the journal holds it
// now.
func (r *Replica) Encode() journal.Entry {
	s, le := &r.Now, binary.LittleEndian
	b := make([]byte, 0, stateFixed+16*len(s.Map))
	for _, v := range []int64{
		int64(s.Self.Incarnation), int64(s.Promised), int64(s.Installed), int64(s.Last),
		int64(s.LastStamp), int64(s.Committed), int64(r.Synced),
	} {
		b = le.AppendUint64(b, uint64(v))
	}
	flags := uint32(r.Service) << 1
	if r.Closed != nil {
		flags |= flagClosed
	}
	b = le.AppendUint32(b, uint32(len(s.Map)))
	b = le.AppendUint32(b, uint32(len(r.Damage)))
	b = le.AppendUint64(b, uint64(flags))
	for _, m := range s.Map {
		b = le.AppendUint64(b, uint64(m.Stamp))
		b = le.AppendUint64(b, uint64(m.First))
	}
	for _, d := range r.Damage {
		b = appendDamage(b, d)
	}
	if r.Closed != nil {
		b = appendDamage(b, r.Closed)
	}
	return journal.Entry{Kind: journal.State, Partition: s.Partition, Body: journal.StateBody(b)}
}

func appendDamage(b []byte, d *damage.Error) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(b, uint64(d.First))
	b = le.AppendUint64(b, uint64(d.Last))
	b = le.AppendUint64(b, uint64(d.Offset))
	file, reason := d.File[:min(len(d.File), 1<<15)], d.Reason[:min(len(d.Reason), 1<<10)]
	b = le.AppendUint16(b, uint16(len(file)))
	b = le.AppendUint16(b, uint16(len(reason)))
	return append(append(b, file...), reason...)
}

// Decode reads what Encode wrote. start is this process's.
func Decode(e journal.Entry, start session.Start) (r *Replica, err error) {
	b, ok := journal.StateContent(e.Body)
	if !ok || len(b) < stateFixed {
		return nil, errors.New("state is damaged")
	}
	le := binary.LittleEndian
	field := func(i int) int64 { return int64(le.Uint64(b[8*i:])) }
	r = &Replica{
		Now: session.ReplicaState{
			Partition: e.Partition,
			Self:      session.Replica{Incarnation: session.Incarnation(field(0)), Start: start},
			Promised:  txn.SessionID(field(1)), Installed: txn.SessionID(field(2)),
			Last: txn.ID(field(3)), LastStamp: txn.SessionID(field(4)), Committed: txn.ID(field(5)),
		},
		Synced: txn.ID(field(6)),
	}
	maps, ranges, flags := int(le.Uint32(b[56:])), int(le.Uint32(b[60:])), le.Uint64(b[64:])
	if b = b[stateFixed:]; len(b) < 16*maps {
		return nil, errors.New("session map is cut")
	}
	for ; maps > 0; maps, b = maps-1, b[16:] {
		r.Now.Map = append(r.Now.Map, session.StampStart{Stamp: txn.SessionID(le.Uint64(b)), First: txn.ID(le.Uint64(b[8:]))})
	}
	for range ranges + int(flags&flagClosed) {
		var d *damage.Error
		if d, b, ok = cutDamage(b); !ok {
			return nil, errors.New("list of damage is cut")
		}
		d.Partition = e.Partition
		r.Damage = append(r.Damage, d)
	}
	if len(b) > 0 || flags>>1 > uint64(serviceMax) {
		return nil, fmt.Errorf("%d bytes behind the state, flags %x", len(b), flags)
	}
	r.Service = Service(flags >> 1)
	if flags&flagClosed != 0 {
		n := len(r.Damage) - 1
		r.Closed, r.Damage = r.Damage[n], r.Damage[:n]
	}
	r.InSegments = r.Synced
	if r.Closed == nil {
		err = r.check()
	}
	return r, err
}

// check reports a state that no replica can have. That of a closed one may be
// anything.
func (r *Replica) check() error {
	s := &r.Now
	switch {
	case s.Installed > s.Promised || s.Committed > s.Last || r.Synced > s.Last || s.Last < txn.None:
		return fmt.Errorf("promised %d, installed %d, last %d, committed %d, synced %d", s.Promised, s.Installed, s.Last, s.Committed, r.Synced)
	case s.LastStamp != s.Map.StampAt(s.Last):
		return fmt.Errorf("last stamp %d, the session map says %d", s.LastStamp, s.Map.StampAt(s.Last))
	}
	return s.Map.Check(s.Last)
}

func cutDamage(b []byte) (*damage.Error, []byte, bool) {
	le := binary.LittleEndian
	if len(b) < 28 {
		return nil, nil, false
	}
	file, reason := int(le.Uint16(b[24:])), int(le.Uint16(b[26:]))
	d := &damage.Error{First: txn.ID(le.Uint64(b)), Last: txn.ID(le.Uint64(b[8:])), Offset: int64(le.Uint64(b[16:]))}
	if b = b[28:]; len(b) < file+reason {
		return nil, nil, false
	}
	d.File, d.Reason = string(b[:file]), string(b[file:file+reason])
	return d, b[file+reason:], true
}

// Mark returns the entry that records damage durably.
func Mark(d *damage.Error) journal.Entry {
	return journal.Entry{
		Kind: journal.Damaged, Partition: d.Partition, First: d.First, Last: d.Last,
		Body: journal.StateBody(appendDamage(nil, d)),
	}
}

// mark reads what Mark wrote.
func mark(e *journal.Entry) (*damage.Error, error) {
	b, ok := journal.StateContent(e.Body)
	if !ok {
		return nil, errors.New("mark of damage is damaged")
	}
	d, rest, ok := cutDamage(b)
	if !ok || len(rest) > 0 {
		return nil, errors.New("mark of damage is cut")
	}
	d.Partition = e.Partition
	return d, nil
}
