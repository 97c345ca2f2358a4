package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/metadata"
)

// Recover says how to recover a partition by force.
type Recover struct {
	Accept bool     // do it; else only say what would be done
	Keep   string   // storage whose replica to keep; empty: that which has most
	Lost   []string // members that give no answer, of which the operator knows that they are lost
}

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
// session that opens. Nor is it ever decided on answers from before a session that
// opened meanwhile: M is read first, the storages are asked after that, and only the
// very version that was read is changed, else all begins anew. It is not safe against
// the operator: if the members that were given up are not lost but out of sight, what
// they have acknowledged is lost by this call.
func (c *Cluster) ForceRecover(ctx context.Context, p txn.Partition, r Recover) (Report, error) {
	for range casMax {
		report, err := c.forceRecover(ctx, p, r)
		if !errors.Is(err, metadata.ErrVersion) {
			return report, err
		}
	}
	return Report{}, fmt.Errorf("state of partition %d is changed by others all the time: %w", p, metadata.ErrVersion)
}

// forceRecover tries once: [metadata.ErrVersion] if M was changed meanwhile.
func (c *Cluster) forceRecover(ctx context.Context, p txn.Partition, r Recover) (Report, error) {
	m, version, err := metadata.LoadPartition(ctx, c.Metadata, p)
	if err != nil {
		return Report{}, partitionError(p, err)
	}
	if c.Leaders != nil {
		if leader, ok := c.Leaders.Leader(p); ok && leader.Open && leader.Problem == "" {
			return Report{}, refusef("partition %d is open in session %d on this server: its majority answers, or did a few seconds ago; if it does not any more, try again", p, leader.Session)
		}
	}
	storages, err := metadata.ListStorages(ctx, c.Metadata)
	if err != nil {
		return Report{}, err
	}
	report, err := c.recover(p, &m, c.ask(ctx, storages, []txn.Partition{p}), r)
	if err == nil && !r.Accept {
		err = refusef("nothing was changed: see what would be lost, and accept it")
	}
	if err != nil {
		return report, err
	}
	if _, err := metadata.SavePartition(ctx, c.Metadata, p, m, version); err != nil {
		return Report{}, partitionError(p, err)
	}
	report.Done = true
	c.logger().Warn("partition recovered by force", "partition", p, "kept", report.Recovery.Kept, "last", int64(report.Recovery.Last),
		"gone", report.Recovery.Gone, "session", int64(report.Recovery.Session))
	return report, nil
}

// candidate is a replica that may be kept, and what its storage said of it.
type candidate struct {
	*Replica
	held session.Promise
}

// recover makes M what it will be, and says what that means.
func (c *Cluster) recover(p txn.Partition, m *metadata.PartitionState, found map[string]answer, r Recover) (Report, error) {
	report := Report{Partition: p, Replicas: []Replica{}}
	if len(m.Members) == 0 {
		return report, refusef("partition %d has never been open: there is nothing to recover; move it to storages that answer", p)
	}
	for _, name := range m.Replicas() {
		report.Replicas = append(report.Replicas, inspect(*m, name, p, found[name]))
	}
	if err := mayRecover(p, *m, report.Replicas, found, r.Lost); err != nil {
		return report, err
	}
	able := candidates(p, report.Replicas, found)
	kept, err := choose(p, able, r.Keep)
	if err != nil {
		return report, err
	}
	before := *m
	member := metadata.Member{Storage: kept.Storage, Incarnation: kept.Incarnation, Installed: kept.Installed}
	*m = before.Recover(member, session.Recovery{At: txn.TimestampOf(c.now()), Last: kept.Last, LastStamp: kept.LastStamp})
	report.Recovery = m.Recoveries[len(m.Recoveries)-1]
	report.Losses = append(others(able, kept), c.losses(p, before, kept, report.Recovery)...)
	return report, nil
}

// mayRecover refuses unless a majority of the members is lost, as far as anybody can
// tell.
func mayRecover(p txn.Partition, m metadata.PartitionState, replicas []Replica, found map[string]answer, lost []string) error {
	var counting, unclear []string
	for _, r := range replicas {
		if r.counts(m) {
			counting = append(counting, r.Storage)
		}
	}
	if quorum.Reached(len(counting), len(m.Members)) {
		return refusef("a majority of partition %d answers: %s of %s; a server can open it without loss",
			p, strings.Join(counting, ", "), strings.Join(memberNames(m), ", "))
	}
	for _, name := range lost {
		if _, ok := m.Member(name); !ok {
			return invalidf("storage %q is no member of partition %d", name, p)
		}
		if slices.Contains(counting, name) {
			return refusef("storage %s answers: it is not lost", name)
		}
	}
	for _, r := range replicas {
		if why := notLost(p, m, r, found[r.Storage], slices.Contains(lost, r.Storage)); why != "" {
			unclear = append(unclear, why)
		}
	}
	if len(unclear) > 0 {
		return refusef("partition %d may have its majority back: %s", p, strings.Join(unclear, "; "))
	}
	return nil
}

// notLost says why a replica must not be given up: it is a member that may hold all
// that it acknowledged. Lost is one of which the machine says that no storage runs
// there, which has no replica, or another one than M remembers; silence is none of
// these.
func notLost(p txn.Partition, m metadata.PartitionState, r Replica, a answer, saidLost bool) string {
	member, ok := m.Member(r.Storage)
	switch {
	case !ok || r.counts(m) || a.deserted:
		return ""
	case a.err != nil && !saidLost:
		return fmt.Sprintf("storage %s gives no answer, which does not say that it is lost (%v): wait for it; if its disk is destroyed, say so by --lost %[1]s", r.Storage, a.err)
	case r.Known && r.Incarnation == member.Incarnation && r.Installed >= member.Installed && a.replicas[p].Service == storageclient.OutOfService:
		return fmt.Sprintf("the replica of storage %s is only out of service: waltz storage availability on --storage %s --partition %d", r.Storage, a.address, p)
	}
	return ""
}

// candidates returns the replicas that have records and can serve.
func candidates(p txn.Partition, replicas []Replica, found map[string]answer) (all []candidate) {
	for i := range replicas {
		r, held := &replicas[i], found[replicas[i].Storage].replicas[p]
		if r.Known && held.Closed == nil && held.Service == storageclient.InService && r.Last > txn.None {
			all = append(all, candidate{r, held.Promise})
		}
	}
	return all
}

// choose returns the replica of the storage that was asked for, or else the best one.
func choose(p txn.Partition, able []candidate, keep string) (best candidate, err error) {
	for _, one := range able {
		if keep == one.Storage || keep == "" && (best.Replica == nil || one.held.Fuller(best.held)) {
			best = one
		}
	}
	switch {
	case best.Replica != nil:
		return best, nil
	case keep != "":
		return best, refusef("storage %s can't be kept: no replica of partition %d that it serves has a record", keep, p)
	}
	return best, refusef("no storage that answers holds a record of partition %d; restore a disk from a back-up, reset its replica, and try again", p)
}

// others says what the replicas that answer hold, and the one that is kept does not.
func others(able []candidate, kept candidate) (all []string) {
	for _, one := range able {
		agreed := session.Agreement(one.held.Map, one.Last, kept.held.Map, kept.Last)
		if one.Storage != kept.Storage && agreed < one.Last {
			all = append(all, fmt.Sprintf("storage %s holds transactions %d to %d, which %s does not have or has others for; --keep %[1]s keeps its replica instead",
				one.Storage, agreed+1, one.Last, kept.Storage))
		}
	}
	return all
}

// losses says in words what the others may have held beyond what is kept.
func (c *Cluster) losses(p txn.Partition, m metadata.PartitionState, kept candidate, r session.Recovery) []string {
	all := []string{fmt.Sprintf("transactions above %d that only %s held are gone, acknowledged or not", kept.Last, strings.Join(r.Gone, ", "))}
	if reached := kept.held.Reached(); reached < m.Opened {
		all = append(all, fmt.Sprintf("session %d was open last, and the log of %s reaches only into %d: everything that the sessions in between committed beyond its end is gone, "+
			"and what it holds above %d may be other records than were committed", m.Opened, kept.Storage, reached, m.Trusted(kept.held)))
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
