package server

import (
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/server/internal/partition"
	"github.com/waltz-log/waltz/server/internal/store"
)

// PartitionStats is a snapshot of one partition.
type PartitionStats = partition.Stats

// Stats is a snapshot of a server.
type Stats struct {
	CacheBytes  int
	Subscribers int
	Partitions  []PartitionStats
}

// Stats returns a snapshot. It takes a few microseconds per partition.
func (s *Server) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := Stats{CacheBytes: s.cache.Bytes(), Subscribers: s.mu.subscribers}
	for i, p := range s.mu.partitions {
		if p != nil {
			stats := p.Stats()
			stats.Replicas = replicas(s.sessions[i].Load(), stats.HighWaterMark)
			st.Partitions = append(st.Partitions, stats)
		}
	}
	return st
}

// replicas counts those of a session, if there is one and it goes on.
func replicas(session *store.Session, committed txn.ID) (r partition.Replicas) {
	if session == nil || session.Err() != nil {
		return r
	}
	st := session.Stats()
	for _, one := range st.Replicas {
		if one.Counts {
			r.Counting++
		}
		if !one.Current {
			r.CatchingUp++
		}
		r.Each = append(r.Each, partition.Replica{Storage: one.Storage, Counting: one.Counts, Lag: max(0, int64(committed-one.Last))})
	}
	for _, storage := range st.Away {
		r.Each = append(r.Each, partition.Replica{Storage: storage, Away: true})
	}
	r.Away, r.CopiedBytes = len(st.Away), st.CopiedBytes
	return r
}
