package server

import (
	"github.com/waltz-log/waltz/internal/admin"
	"github.com/waltz-log/waltz/internal/txn"
)

var _ admin.Leaders = (*Server)(nil)

// Leader describes a partition for operators; false if this server does not own it.
func (s *Server) Leader(p txn.Partition) (admin.Leader, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p < 0 || int(p) >= len(s.mu.partitions) || s.mu.partitions[p] == nil {
		return admin.Leader{}, false
	}
	owned := s.mu.partitions[p]
	is := owned.Stats()
	leader := admin.Leader{Open: is.Open, Session: is.Session, HighWaterMark: is.HighWaterMark}
	if session := s.sessions[p].Load(); session != nil && session.Err() == nil {
		leader.Unfit = map[string]string{}
		for storage, why := range session.Stats().Unfit {
			leader.Unfit[storage] = why.Error()
		}
	}
	switch err := owned.Ready(); {
	case err != nil:
		leader.Problem = err.Error()
	case is.Stalled:
		leader.Problem = "nothing can be committed, since storages are full"
	}
	return leader, true
}
