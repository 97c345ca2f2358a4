package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/waltz-log/waltz/metadata"
)

var errOutage = errors.New("the test has metadata out of reach")

// Outage is what is the matter with the way to the metadata.
type Outage int

// What can be the matter. In an outage of either kind every second change takes
// effect all the same.
const (
	NoOutage Outage = iota
	Failing         // calls fail at once, changes with an unknown outcome
	Hanging         // calls wait until that is over, or their context is
	Mute            // reads work and changes take effect, but no change is answered
)

// Metadata is one server's way to the metadata, which can fail. It remembers every
// change that took effect.
type Metadata struct {
	metadata.Store
	changes *changes

	mu     sync.Mutex
	outage Outage
	over   chan struct{} // closed when the outage changes
	sets   int           // during an outage
}

func newMetadata(s metadata.Store, h *changes, o Outage) *Metadata {
	return &Metadata{Store: s, changes: h, outage: o, over: make(chan struct{})}
}

// Suffer begins an outage, or ends it with [NoOutage].
func (m *Metadata) Suffer(o Outage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outage = o
	close(m.over)
	m.over = make(chan struct{})
}

func (m *Metadata) state() (Outage, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outage, m.over
}

// pass waits until a call can be made, or says why it can't.
func (m *Metadata) pass(ctx context.Context) error {
	for {
		switch outage, over := m.state(); outage {
		case Failing:
			return errOutage
		case Hanging:
			select {
			case <-over:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		default:
			return nil
		}
	}
}

// Get implements [metadata.Store].
func (m *Metadata) Get(ctx context.Context, key string) ([]byte, metadata.Version, error) {
	if err := m.pass(ctx); err != nil {
		return nil, 0, &metadata.KeyError{Op: "get", Key: key, Err: err}
	}
	return m.Store.Get(ctx, key)
}

// List implements [metadata.Store].
func (m *Metadata) List(ctx context.Context, key string) ([]string, error) {
	if err := m.pass(ctx); err != nil {
		return nil, &metadata.KeyError{Op: "list", Key: key, Err: err}
	}
	return m.Store.List(ctx, key)
}

// Set implements [metadata.Store]. Who makes a change in an outage never hears what
// became of it.
func (m *Metadata) Set(ctx context.Context, key string, value []byte, version metadata.Version) (metadata.Version, error) {
	outage, _ := m.state()
	if outage == NoOutage {
		return m.set(ctx, key, value, version)
	}
	m.mu.Lock()
	m.sets++
	lost := outage != Mute && m.sets%2 == 0
	m.mu.Unlock()
	if !lost {
		if _, err := m.set(context.WithoutCancel(ctx), key, value, version); err != nil && outage == Mute {
			return version, err
		}
	}
	if err := m.pass(ctx); err != nil {
		return version, &metadata.KeyError{Op: "set", Key: key, Err: errors.Join(metadata.ErrUnknown, err)}
	}
	return version, &metadata.KeyError{Op: "set", Key: key, Err: metadata.ErrUnknown}
}

func (m *Metadata) set(ctx context.Context, key string, value []byte, version metadata.Version) (metadata.Version, error) {
	now, err := m.Store.Set(ctx, key, value, version)
	if err == nil {
		m.changes.add(key, now, value)
	}
	return now, err
}

// Watch implements [metadata.Store]. In an outage nothing is heard of changes until
// it is over.
func (m *Metadata) Watch(ctx context.Context, key string) (<-chan struct{}, error) {
	in, err := m.Store.Watch(ctx, key)
	if err != nil {
		return nil, err
	}
	out := make(chan struct{}, 1)
	go func() { // ends with ctx
		defer close(out)
		for range in {
			for outage, over := m.state(); outage == Failing || outage == Hanging; outage, over = m.state() {
				select {
				case <-over:
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- struct{}{}:
			default:
			}
		}
	}()
	return out, nil
}

// changes are what the partitions' states were, by key and version.
type changes struct {
	mu  sync.Mutex
	all map[string]map[metadata.Version]metadata.PartitionState
	err error
}

func (c *changes) add(key string, version metadata.Version, value []byte) {
	var m metadata.PartitionState
	err := json.Unmarshal(value, &m)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[string]map[metadata.Version]metadata.PartitionState{}
	}
	if c.all[key] == nil {
		c.all[key] = map[metadata.Version]metadata.PartitionState{}
	}
	c.all[key][version] = m
	c.err = errors.Join(c.err, err)
}

// judge says where session, opened session or generation went back (P4), and where a
// session was opened that nobody had claimed (I3).
func (c *changes) judge() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.err
	for key, states := range c.all {
		var before metadata.PartitionState
		for _, version := range slices.Sorted(maps.Keys(states)) {
			is := states[version]
			if is.Session < before.Session || is.Opened < before.Opened || is.Generation < before.Generation || is.Opened > is.Session {
				err = errors.Join(err, fmt.Errorf("version %d of %s: session %d, opened %d, generation %d came after session %d, opened %d, generation %d",
					version, key, is.Session, is.Opened, is.Generation, before.Session, before.Opened, before.Generation))
			}
			before = is
		}
	}
	return err
}
