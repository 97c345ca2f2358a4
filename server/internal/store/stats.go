package store

import (
	"slices"
	"strings"

	"github.com/waltz-log/waltz/internal/txn"
)

// ReplicaStats is what a session knows of one replica that takes its appends.
type ReplicaStats struct {
	Storage string
	Current bool   // it takes new records directly; else it is catching up
	Counts  bool   // towards a majority: M records it
	Full    bool   // its disk is
	Last    txn.ID // the last transaction that it has answered
	Unacked int    // bytes sent to it and not answered
}

// Stats is a snapshot of a session.
type Stats struct {
	Replicas    []ReplicaStats // those that take appends, by name
	Away        []string       // those that don't, and have been tried, by name
	QueueBytes  int            // appended and not committed
	KeptBytes   int            // committed, and kept for replicas that are about to catch up
	Confirming  bool           // a Confirm is under way
	CopiedBytes uint64         // read and sent again to replicas that caught up, so far

	Unfit map[string]error // those that take no part until somebody does something about them, by storage, and why
}

// Stats returns a snapshot.
func (s *Session) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{QueueBytes: s.mu.queue.bytes, KeptBytes: s.mu.queue.keptBytes, CopiedBytes: s.copied.Load(), Confirming: s.mu.confirm.running != nil}
	st.Unfit = s.mu.leader.Unfit()
	for _, l := range s.mu.links {
		st.Replicas = append(st.Replicas, ReplicaStats{
			Storage: l.storage, Current: l.current, Counts: s.mu.leader.Counts(l.storage, l.self), Full: l.full != nil,
			Last: l.took, Unacked: l.window.bytes,
		})
	}
	for storage := range s.mu.troubles {
		if !slices.ContainsFunc(s.mu.links, func(l *link) bool { return l.storage == storage }) {
			st.Away = append(st.Away, storage)
		}
	}
	slices.SortFunc(st.Replicas, func(a, b ReplicaStats) int { return strings.Compare(a.Storage, b.Storage) })
	slices.Sort(st.Away)
	return st
}
