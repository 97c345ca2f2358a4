package admin

import (
	"context"
	"fmt"
	"strings"

	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// Report says what a forced recovery keeps and what may be gone.
type Report struct {
	Partition txn.Partition    `json:"partition"`
	Done      bool             `json:"done"`
	Recovery  session.Recovery `json:"recovery"`
	Replicas  []Replica        `json:"replicas"` // as they were found
	Losses    []string         `json:"losses"`   // what may be gone
}

// ForceRecover implements [Operator].
//
// It is safe against servers, whatever they believe: the number that it claims makes
// an attempt to open a session lose its compare-and-set, an open session hears of it
// by its watch, and the replica that is kept refuses everything below the next
// session that opens. It is not safe against the operator: if the members that were
// given up are not lost but out of sight, what they have acknowledged is lost by this
// call.
func (c *Cluster) ForceRecover(ctx context.Context, p txn.Partition, accept bool) (Report, error) {
	if c.Leaders != nil {
		if leader, ok := c.Leaders.Leader(p); ok && leader.Open && leader.Problem == "" {
			return Report{}, refusef("partition %d is open in session %d on this server: its majority answers, or did a few seconds ago; if it does not any more, try again", p, leader.Session)
		}
	}
	storages, err := metadata.ListStorages(ctx, c.Metadata)
	if err != nil {
		return Report{}, err
	}
	found := c.ask(ctx, storages, []txn.Partition{p})
	var report Report
	err = c.change(ctx, p, func(m *metadata.PartitionState) (err error) {
		report, err = c.recover(p, m, found)
		if err == nil && !accept {
			err = refusef("nothing was changed: see what would be lost, and accept it")
		}
		return err
	})
	if err != nil {
		return report, err
	}
	report.Done = true
	c.logger().Warn("partition recovered by force", "partition", p, "kept", report.Recovery.Kept, "last", int64(report.Recovery.Last),
		"gone", report.Recovery.Gone, "session", int64(report.Recovery.Session))
	return report, nil
}

// recover makes M what it will be, and says what that means.
func (c *Cluster) recover(p txn.Partition, m *metadata.PartitionState, found map[string]answer) (Report, error) {
	report := Report{Partition: p, Replicas: []Replica{}}
	if len(m.Members) == 0 {
		return report, refusef("partition %d has never been open: there is nothing to recover; move it to storages that answer", p)
	}
	var counting []string
	var best *Replica
	for _, name := range m.Replicas() {
		report.Replicas = append(report.Replicas, inspect(*m, name, p, found[name]))
		r := &report.Replicas[len(report.Replicas)-1]
		if r.counts(*m) {
			counting = append(counting, name)
		}
		if r.Known && found[name].replicas[p].Closed == nil && found[name].replicas[p].Service == storageclient.InService && r.Last > txn.None && (best == nil || betterThan(r, best)) {
			best = r
		}
	}
	if quorum.Reached(len(counting), len(m.Members)) {
		return report, refusef("a majority of partition %d answers: %s of %s; a server can open it without loss",
			p, strings.Join(counting, ", "), strings.Join(memberNames(*m), ", "))
	}
	if best == nil {
		return report, refusef("no storage that answers holds a record of partition %d; restore a disk from a back-up, reset its replica, and try again", p)
	}
	before := *m
	kept := metadata.Member{Storage: best.Storage, Incarnation: best.Incarnation, Installed: best.Installed}
	*m = before.Recover(kept, session.Recovery{At: txn.TimestampOf(c.now()), Last: best.Last, LastStamp: best.LastStamp})
	report.Recovery = m.Recoveries[len(m.Recoveries)-1]
	report.Losses = c.losses(p, before, *best, report.Recovery)
	return report, nil
}

// betterThan compares as step 3 of the protocol does.
func betterThan(a, b *Replica) bool {
	if a.Installed != b.Installed {
		return a.Installed > b.Installed
	}
	return a.Last > b.Last
}

// losses says in words what the others may have held beyond what is kept.
func (c *Cluster) losses(p txn.Partition, m metadata.PartitionState, kept Replica, r session.Recovery) []string {
	all := []string{fmt.Sprintf("transactions above %d that only %s held are gone, acknowledged or not", kept.Last, strings.Join(r.Gone, ", "))}
	if kept.Installed < m.Opened {
		all = append(all, fmt.Sprintf("session %d was open last, and %s has installed only %d: everything that the sessions in between committed beyond its end is gone, "+
			"and what it holds of session %d may be other records than were committed", m.Opened, kept.Storage, kept.Installed, kept.Installed))
	}
	if kept.Problem != "" {
		all = append(all, fmt.Sprintf("of the replica that is kept: %s", kept.Problem))
	}
	if c.Leaders != nil {
		if leader, ok := c.Leaders.Leader(p); ok && leader.HighWaterMark > kept.Last {
			all = append(all, fmt.Sprintf("this server has acknowledged transactions up to %d: %d to %d are gone", leader.HighWaterMark, kept.Last+1, leader.HighWaterMark))
		}
	}
	return append(all, fmt.Sprintf("views and clients that have seen a transaction above %d have seen what is no more: their IDs are given out again; rebuild those views", kept.Last))
}
