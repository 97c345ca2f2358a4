package placement

import "slices"

// hop moves one partition's replica from a storage to another.
type hop struct{ partition, from, to int }

// cost orders chains: fewest replicas moved that are on a disk already, then
// fewest at all. The second keeps a chain from touching a partition twice, which
// could be said shorter.
type cost struct{ copies, hops int }

func (c cost) less(d cost) bool {
	return c.copies < d.copies || c.copies == d.copies && c.hops < d.hops
}

// balance moves replicas along chains, from a storage to one that has two fewer,
// until there is no such chain.
func (b *board) balance() {
	for b.improve() {
	}
}

// improve carries out one chain, from the fullest storage that has one.
func (b *board) improve() bool {
	order := make([]int, len(b.names))
	for s := range order {
		order[s] = s
	}
	slices.SortStableFunc(order, func(x, y int) int { return b.loads[y] - b.loads[x] })
	for _, from := range order {
		if b.loads[from] < 2 || b.loads[from]-b.loads[b.emptiest()] < 2 {
			return false
		}
		chain := b.direct(from)
		if chain == nil {
			chain = b.chain(from)
		}
		if chain != nil {
			for _, h := range chain {
				b.remove(h.partition, h.from)
			}
			for _, h := range chain {
				b.put(h.partition, h.to)
			}
			return true
		}
	}
	return false
}

// direct returns a single move to the emptiest storage if no chain is cheaper:
// one from a storage where every replica is on the disk already costs a copy
// anyway.
func (b *board) direct(from int) []hop {
	to := b.emptiest()
	p, copies := b.movable(from, to)
	if p < 0 || copies > 0 && b.fresh[from] > 0 {
		return nil
	}
	return []hop{{p, from, to}}
}

// emptiest returns the storage that has fewest replicas.
func (b *board) emptiest() int {
	best := -1
	for s := range b.names {
		if b.takes[s] && (best < 0 || b.loads[s] < b.loads[best]) {
			best = s
		}
	}
	return best
}

// chain returns the cheapest chain of moves from a storage to the emptiest one
// that has at least two fewer, nil if there is none (Dijkstra over storages).
func (b *board) chain(from int) []hop {
	n := len(b.names)
	costs, via, done, reached := make([]cost, n), make([]hop, n), make([]bool, n), make([]bool, n)
	reached[from] = true
	best := -1
	for {
		s := -1
		for t := range n {
			if reached[t] && !done[t] && (s < 0 || costs[t].less(costs[s])) {
				s = t
			}
		}
		if s < 0 {
			break
		}
		done[s] = true
		if b.loads[s] <= b.loads[from]-2 && (best < 0 || b.loads[s] < b.loads[best]) {
			best = s
		}
		b.relax(s, costs, via, done, reached)
	}
	if best < 0 {
		return nil
	}
	var chain []hop
	for s := best; s != from; s = via[s].from {
		chain = append(chain, via[s])
	}
	return chain
}

// relax finds where replicas of a storage can go, by the cheapest move each.
func (b *board) relax(s int, costs []cost, via []hop, done, reached []bool) {
	for t := range b.names {
		if done[t] || !b.takes[t] {
			continue
		}
		p, copies := b.movable(s, t)
		if p < 0 {
			continue
		}
		c := cost{costs[s].copies + copies, costs[s].hops + 1}
		if !reached[t] || c.less(costs[t]) {
			reached[t], costs[t], via[t] = true, c, hop{p, s, t}
		}
	}
}

// movable returns a partition whose replica can move from s to t, -1 if there is
// none, and whether that copies one more: not if it was to be copied anyway.
func (b *board) movable(s, t int) (partition, copies int) {
	partition = -1
	for _, p := range b.on[s] {
		if !b.fits(p, t, s) {
			continue
		}
		if !slices.Contains(b.first[p], s) || slices.Contains(b.first[p], t) {
			return p, 0
		}
		if partition < 0 {
			partition = p
		}
		if b.fresh[s] == 0 {
			break // all cost the same, but for one that comes back, which is rare
		}
	}
	return partition, 1
}
