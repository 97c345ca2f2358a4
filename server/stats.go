package server

import (
	"github.com/waltz-log/waltz/server/internal/partition"
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
	for _, p := range s.mu.partitions {
		if p != nil {
			st.Partitions = append(st.Partitions, p.Stats())
		}
	}
	return st
}
