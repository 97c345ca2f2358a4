package admin

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/waltz-log/waltz/internal/quorum"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/metadata"
)

// Status describes a cluster.
type Status struct {
	ClusterKey  string           `json:"cluster_key"`
	ClusterName string           `json:"cluster_name"`
	Partitions  int              `json:"partitions"`
	Replicas    int              `json:"replicas"` // of each partition, as it should be
	Storages    []StorageStatus  `json:"storages"`
	States      []PartitionState `json:"states"`
}

// StorageStatus describes a storage.
type StorageStatus struct {
	metadata.Storage
	Replicas int    `json:"replicas"`          // partitions that have it as a member or target
	Problem  string `json:"problem,omitempty"` // why it can't be asked, or takes nothing
}

// PartitionState describes a partition.
type PartitionState struct {
	Partition  txn.Partition      `json:"partition"`
	Generation int64              `json:"generation"`
	Session    txn.SessionID      `json:"session"`
	Opened     txn.SessionID      `json:"opened"`
	Target     []string           `json:"target"`
	Replicas   []Replica          `json:"replicas"`
	Leader     *Leader            `json:"leader,omitempty"` // nil: who answers does not own it
	Health     string             `json:"health"`
	Recoveries []session.Recovery `json:"recoveries,omitempty"`
}

// What health a partition is in.
const (
	OK          = "ok"          // all members are sound and are the target
	Changing    = "changing"    // newcomers are copied to
	Degraded    = "degraded"    // a majority of members is sound, others are not
	Unavailable = "unavailable" // no majority of members is sound, or its server can't open it
)

// Roles of a replica.
const (
	RoleMember   = "member"
	RoleNewcomer = "newcomer" // in the target, and not a member yet
)

// Replica describes one replica, as M has it and as its storage says.
type Replica struct {
	Storage     string              `json:"storage"`
	Role        string              `json:"role"`
	Recorded    txn.SessionID       `json:"recorded"`           // session that M says it installed
	Problem     string              `json:"problem,omitempty"`  // why it would not count in a vote; empty: it is sound
	Known       bool                `json:"known"`              // what follows is: its storage answered
	Incarnation session.Incarnation `json:"incarnation,string"` // above what every reader of JSON can count to
	Promised    txn.SessionID       `json:"promised"`
	Installed   txn.SessionID       `json:"installed"`
	Last        txn.ID              `json:"last"`
	LastStamp   txn.SessionID       `json:"last_stamp"`
	Committed   txn.ID              `json:"committed"`
	Lag         int64               `json:"lag"` // transactions that it lacks of the high-water mark
	// Unfit: it takes no part until somebody does what Problem says. A change that
	// brings it in waits for that.
	Unfit bool `json:"unfit,omitempty"`

	damaged bool // some records are, and nothing else is wrong
	full    bool // its storage's disk is, and nothing else is wrong
}

// Status implements [Operator].
func (c *Cluster) Status(ctx context.Context, partitions []txn.Partition) (Status, error) {
	cluster, states, err := c.states(ctx)
	if err != nil {
		return Status{}, err
	}
	storages, err := metadata.ListStorages(ctx, c.Metadata)
	if err != nil {
		return Status{}, err
	}
	replication, _, err := metadata.LoadReplication(ctx, c.Metadata)
	if err != nil {
		return Status{}, err
	}
	s := Status{
		ClusterKey: cluster.Key, ClusterName: cluster.Name, Partitions: cluster.Partitions, Replicas: replication.Replicas,
		Storages: []StorageStatus{}, States: []PartitionState{},
	}
	if len(partitions) == 0 {
		for p := range states {
			partitions = append(partitions, txn.Partition(p))
		}
	}
	found := c.ask(ctx, storages, partitions)
	for _, one := range storages {
		s.Storages = append(s.Storages, StorageStatus{Storage: one, Replicas: replicasOf(states, one.Name), Problem: found[one.Name].problem()})
	}
	for _, p := range partitions {
		if p < 0 || int(p) >= len(states) {
			return Status{}, invalidf("there is no partition %d, they are 0 to %d", p, len(states)-1)
		}
		s.States = append(s.States, c.describe(p, states[p], found))
	}
	return s, nil
}

// answer is what a storage said of its replicas, or why it did not.
type answer struct {
	replicas map[txn.Partition]storageclient.Replica
	err      error
	full     bool   // its disk is
	deserted bool   // the storage's machine says that none runs there
	address  string // of the storage
}

func (a answer) problem() string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.full:
		return diskFull
	}
	return ""
}

const diskFull = "its disk is full: make room, writing goes on by itself"

// ask asks all storages for their replicas.
func (c *Cluster) ask(ctx context.Context, storages []metadata.Storage, partitions []txn.Partition) map[string]answer {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.AskMax, askDefault))
	defer cancel()
	answers := make([]answer, len(storages))
	var wg sync.WaitGroup
	for i, s := range storages {
		wg.Go(func() { answers[i] = c.askOne(ctx, s.Name, partitions) })
	}
	wg.Wait()
	found := map[string]answer{}
	for i, s := range storages {
		answers[i].address = s.Address
		found[s.Name] = answers[i]
	}
	return found
}

func (c *Cluster) askOne(ctx context.Context, name string, partitions []txn.Partition) answer {
	if c.Storages == nil {
		return answer{err: fmt.Errorf("storage %s is not asked here", name)}
	}
	client, ok := c.Storages.Find(name)
	if !ok {
		return answer{err: fmt.Errorf("storage %s is not known yet", name)}
	}
	a := answer{replicas: map[txn.Partition]storageclient.Replica{}}
	replicas, err := client.Replicas(ctx, partitions...)
	if err == nil {
		var who storageclient.Storage
		who, err = client.Describe(ctx)
		a.full = who.Full
	}
	a.err, a.deserted = err, err != nil && client.Deserted(ctx)
	for _, r := range replicas {
		a.replicas[r.Partition] = r
	}
	return a
}

// describe puts together what M, the storages and the server say of a partition.
func (c *Cluster) describe(p txn.Partition, m metadata.PartitionState, found map[string]answer) PartitionState {
	s := PartitionState{
		Partition: p, Generation: m.Generation, Session: m.Session, Opened: m.Opened, Target: m.Target,
		Replicas: []Replica{}, Recoveries: m.Recoveries,
	}
	if c.Leaders != nil {
		if leader, ok := c.Leaders.Leader(p); ok {
			s.Leader = &leader
		}
	}
	high := txn.None
	for _, name := range m.Replicas() {
		r := inspect(m, name, p, found[name])
		if s.Leader != nil && s.Leader.Unfit[name] != "" {
			r.Unfit, r.Problem, r.damaged, r.full = true, s.Leader.Unfit[name], false, false
		}
		s.Replicas = append(s.Replicas, r)
		high = max(high, r.Last)
	}
	remedies(&s, found)
	if s.Leader != nil && s.Leader.Open {
		high = s.Leader.HighWaterMark
	}
	for i := range s.Replicas {
		if r := &s.Replicas[i]; r.Known {
			r.Lag = max(0, int64(high-r.Last))
		}
	}
	s.Health = health(m, s)
	return s
}

// inspect describes one replica: whether it is the one that M remembers, and holds
// what M says it installed, as step 3 of the protocol asks.
func inspect(m metadata.PartitionState, name string, p txn.Partition, a answer) Replica {
	r := Replica{Storage: name, Role: RoleNewcomer, Last: txn.None, Committed: txn.None}
	member, ok := m.Member(name)
	if ok {
		r.Role, r.Recorded = RoleMember, member.Installed
	}
	held, has := a.replicas[p]
	switch {
	case a.err != nil:
		r.Problem = a.err.Error()
		return r
	case a.replicas == nil:
		r.Problem = fmt.Sprintf("the metadata names no storage %s", name)
		return r
	case !has:
		r.Problem = "it has no replica of the partition"
		return r
	}
	is := held.Promise
	r.Known, r.Incarnation, r.Promised, r.Installed = true, is.Replica.Incarnation, is.Promised, is.Installed
	r.Last, r.LastStamp, r.Committed = is.Last, session.Map(is.Map).StampAt(is.Last), is.Committed
	switch {
	case held.Closed != nil:
		r.Problem = fmt.Sprintf("its journal is damaged, it takes no messages: waltz storage reset --storage %s --partition %d --keep", a.address, p)
	case held.Service != storageclient.InService:
		r.Problem = "it is " + held.Service.String()
	case ok && member.Incarnation != 0 && r.Incarnation != member.Incarnation:
		r.Problem = "it is another one than the metadata remembers: its disk was wiped, or it was reset"
	case ok && r.Installed < member.Installed:
		r.Problem = fmt.Sprintf("it has lost what it installed, session %d: its disk was rolled back", member.Installed)
	case len(held.Damage) > 0:
		r.Problem, r.damaged = damagedRanges(held.Damage), true
	case a.full:
		r.Problem, r.full = diskFull, true
	}
	return r
}

func damagedRanges(all []wire.StorageDamage) string {
	first, more := all[0], ""
	if len(all) > 1 {
		more = fmt.Sprintf(" and %d more ranges", len(all)-1)
	}
	if first.Last == math.MaxInt64 {
		return fmt.Sprintf("records from %d on%s are damaged", first.First, more)
	}
	return fmt.Sprintf("records %d to %d%s are damaged", first.First, first.Last, more)
}

// remedies adds to what is wrong with damaged replicas the command that repairs them
// from the sound ones. The partition's server does so by itself every minute; who reads
// this should look at the disk, and need not wait.
func remedies(s *PartitionState, found map[string]answer) {
	var sources []string
	for _, r := range s.Replicas {
		if r.Problem == "" || r.full {
			sources = append(sources, found[r.Storage].address)
		}
	}
	for i := range s.Replicas {
		switch r := &s.Replicas[i]; {
		case !r.damaged:
		case len(sources) == 0:
			r.Problem += ": waltz storage repair takes them from another replica, of which none is sound"
		default:
			r.Problem += fmt.Sprintf(": waltz storage repair --storage %s --partition %d --source %s", found[r.Storage].address, s.Partition, strings.Join(sources, ","))
		}
	}
}

// counts reports whether a replica would count in a vote: damaged records don't keep
// it from that, nor does a full disk, once there is room.
func (r Replica) counts(m metadata.PartitionState) bool {
	member, ok := m.Member(r.Storage)
	return ok && r.Known && r.Incarnation == member.Incarnation && r.Installed >= member.Installed &&
		(r.Problem == "" || r.damaged || r.full)
}

func health(m metadata.PartitionState, s PartitionState) string {
	sound, able := 0, 0
	for _, r := range s.Replicas {
		if r.Role == RoleMember && r.Problem == "" {
			sound++
		}
		if r.counts(m) {
			able++
		}
	}
	switch {
	case s.Leader != nil && s.Leader.Problem != "", len(m.Members) > 0 && !quorum.Reached(able, len(m.Members)):
		return Unavailable
	case sound < len(m.Members):
		return Degraded
	case len(m.Members) == 0 || !sameSet(memberNames(m), m.Target):
		return Changing
	}
	if slices.ContainsFunc(s.Replicas, func(r Replica) bool { return r.Problem != "" }) {
		return Degraded
	}
	return OK
}
