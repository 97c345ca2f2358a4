package vfs

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
)

// CrashClone returns the file system as a reboot would find it if the machine
// stopped now. What was synced is there. Of the rest, the seed decides: of each
// folder's changes since its SyncDir any subset happened, each as a whole; of
// each file's bytes since its last sync all, none, or any subset of its 4 KiB
// pages or of its 512-byte sectors, and the new length or the old. Locks, rules,
// hook and limit of space are gone. The original is not changed.
func (m *Mem) CrashClone(seed uint64) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &crash{rnd: rand.New(rand.NewPCG(seed, 0x57616c747a)), to: NewMem(), files: map[*memData]*memData{}}
	for _, root := range []string{"/", "."} {
		c.dir(root, m.dirs[root])
	}
	return c.to
}

// Clone returns the file system as another process would find it if this one
// were killed: everything that was written, durable or not, is there as it was.
// Locks, rules, hook and limit of space are gone.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &clone{to: NewMem(), files: map[*memData]*memData{}, nodes: map[*memNode]*memNode{}}
	for _, root := range []string{"/", "."} {
		c.dir(root, m.dirs[root], c.to.dirs[root])
	}
	c.to.used = m.used
	return c.to
}

type crash struct {
	rnd   *rand.Rand
	to    *Mem
	files map[*memData]*memData
}

func (c *crash) dir(name string, d *memDir) {
	names := maps.Clone(d.synced)
	keep := c.rnd.IntN(3) // all, none, or a subset
	for _, op := range d.pending {
		if keep == 0 || keep == 2 && c.rnd.IntN(2) == 0 {
			d.apply(names, op)
		}
	}
	into := newMemDir()
	c.to.dirs[name] = into
	for _, base := range slices.Sorted(maps.Keys(names)) {
		n := &memNode{}
		if from := names[base]; from.dir != nil {
			c.dir(path.Join(name, base), from.dir)
			n.dir = c.to.dirs[path.Join(name, base)]
		} else {
			n.file = c.file(from.file)
			n.file.path = path.Join(name, base)
		}
		into.names[base] = n
	}
	into.synced = maps.Clone(into.names)
}

func (c *crash) file(d *memData) *memData {
	if done := c.files[d]; done != nil {
		return done
	}
	size := int64(len(d.synced))
	if c.rnd.IntN(2) == 0 {
		size = int64(len(d.now))
	}
	now := make([]byte, size)
	copy(now, d.synced)
	c.tear(now, d)
	into := &memData{now: now, synced: bytes.Clone(now)}
	c.files[d] = into
	c.to.used += size
	return into
}

// tear brings some of a file's unsynced sectors over.
func (c *crash) tear(now []byte, d *memData) {
	mode := c.rnd.IntN(4) // all, none, pages, sectors
	pages := map[int64]bool{}
	for _, s := range slices.Sorted(maps.Keys(d.dirty)) {
		keep := mode == 0
		switch page := s / 8; mode {
		case 2:
			if _, drawn := pages[page]; !drawn {
				pages[page] = c.rnd.IntN(2) == 0
			}
			keep = pages[page]
		case 3:
			keep = c.rnd.IntN(2) == 0
		}
		from, to := s*sector, min((s+1)*sector, int64(len(now)))
		if keep && from < to {
			clear(now[from:to]) // what lies behind the new end
			copy(now[from:to], d.now[min(from, int64(len(d.now))):])
		}
	}
}

type clone struct {
	to    *Mem
	files map[*memData]*memData
	nodes map[*memNode]*memNode
}

func (c *clone) dir(name string, from, into *memDir) {
	if name != "" {
		c.to.dirs[name] = into
	}
	for base, n := range from.names {
		child := ""
		if name != "" {
			child = path.Join(name, base)
		}
		into.names[base] = c.node(child, n)
	}
	for base, n := range from.synced {
		into.synced[base] = c.node("", n)
	}
	for _, op := range from.pending {
		into.pending = append(into.pending, dirOp{from: op.from, to: op.to, node: c.node("", op.node)})
	}
}

// node copies a file or folder once; name is its present path, empty if it has
// none.
func (c *clone) node(name string, n *memNode) *memNode {
	if done := c.nodes[n]; done != nil {
		return done
	}
	into := &memNode{}
	c.nodes[n] = into
	if n.dir != nil {
		into.dir = newMemDir()
		c.dir(name, n.dir, into.dir)
		return into
	}
	into.file = &memData{
		now: bytes.Clone(n.file.now), synced: bytes.Clone(n.file.synced),
		dirty: maps.Clone(n.file.dirty), path: n.file.path, removed: n.file.removed,
	}
	return into
}
