package session

import (
	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/txn"
)

// Recovery remembers that an operator gave up a majority of members for good, by
// writing another one into M, with the log that was left. What the others held
// beyond it is gone, acknowledged or not: P1 and I1 hold anew from there on.
type Recovery struct {
	At        txn.Timestamp `json:"at_us"`
	Session   txn.SessionID `json:"session"` // claimed for it: everything below is fenced
	Kept      string        `json:"kept"`    // the storage whose replica is the log now
	Last      txn.ID        `json:"last"`    // where that ended
	LastStamp txn.SessionID `json:"last_stamp"`
	Installed txn.SessionID `json:"installed"` // what it had installed
	Opened    txn.SessionID `json:"opened"`    // the last session that had opened before
	Gone      []string      `json:"gone"`      // the members that were given up
}

// recoveriesMax is how many recoveries M remembers.
const recoveriesMax = 16

// Recover returns M with one replica for its only member and target, and a session
// number claimed above all that were, so that whoever opens one, or has one open,
// must begin anew. The replica is as it was found; r names it and is completed.
func (s PartitionState) Recover(kept Member, r Recovery) PartitionState {
	next := s.Clone()
	if !mutant.On("recovery-without-claim") {
		next.Session = s.Session + 1
	}
	next.Members, next.Target = []Member{kept}, []string{kept.Storage}
	r.Session, r.Kept, r.Installed, r.Opened, r.Gone = next.Session, kept.Storage, kept.Installed, s.Opened, nil
	for _, m := range s.Members {
		if m.Storage != kept.Storage {
			r.Gone = append(r.Gone, m.Storage)
		}
	}
	next.Recoveries = append(next.Recoveries, r)
	next.Recoveries = next.Recoveries[max(0, len(next.Recoveries)-recoveriesMax):]
	return next
}

// Fuller reports whether a forced recovery should keep this replica rather than
// another. It compares as step 3 of the protocol does, (installed, last), but takes
// a record of a session for its installation. The protocol can't, since a newcomer's
// vote is none; here only the records matter. A newcomer is copied to from the
// session's own log, so its log up to a record with stamp s is that of session s, all
// with which s began included: what installing s says of a log, too. So of two logs of
// which one is the other's prefix the longer is kept, unless its excess is of sessions
// before the one that the shorter has installed: that session has cut them, they are
// committed nowhere, and may have been refused.
func (p Promise) Fuller(than Promise) bool {
	if p.Reached() != than.Reached() && !mutant.On("recovery-keeps-the-longest") {
		return p.Reached() > than.Reached()
	}
	return p.Last > than.Last
}

// Reached returns the highest session whose beginning the log is known to hold.
func (p Promise) Reached() txn.SessionID {
	return max(p.Installed, Map(p.Map).StampAt(p.Last))
}

// Trusted returns up to where the log of a replica is surely what the sessions have
// committed, though it may not reach into the one that opened last: what it knows to
// be committed, but for what a recovery that it has not heard of has given up. If
// that one kept a log which did not reach the last session either, that is anything.
func (s PartitionState) Trusted(p Promise) txn.ID {
	known, all := p.Committed, s.Recoveries
	if len(all) == recoveriesMax && all[0].Session > p.Reached() {
		return txn.None // there may have been others, which are forgotten
	}
	for _, r := range all {
		switch {
		case r.Session <= p.Reached():
		case max(r.Installed, r.LastStamp) < r.Opened:
			known = txn.None
		default:
			known = min(known, r.Last)
		}
	}
	return known
}
