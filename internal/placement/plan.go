package placement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Storage is a place for replicas.
type Storage struct {
	Name     string
	Group    string // failure domain
	Draining bool   // its replicas are to leave, none may come
}

// Move is one partition's change of replicas.
type Move struct {
	Partition int
	From, To  []string // sets of storages; what stays has the order of From
}

// Add returns the storages that get a replica.
func (m Move) Add() []string { return minus(m.To, m.From) }

// Remove returns the storages that lose one.
func (m Move) Remove() []string { return minus(m.From, m.To) }

// Plan returns the moves that lead from the present targets, by partition, to
// ones that follow the package's rules, in the order of their partitions; none if
// they do. A target may name storages that are not there any more. It is an error
// if no storage takes replicas, or if replicas is below 1.
func Plan(storages []Storage, replicas int, targets [][]string) ([]Move, error) {
	b, err := newBoard(storages, replicas, targets)
	if err != nil {
		return nil, err
	}
	b.fill()
	b.balance()
	var moves []Move
	for p, from := range targets {
		if to := b.target(p, from); !sameSet(from, to) {
			moves = append(moves, Move{Partition: p, From: slices.Clone(from), To: to})
		}
	}
	return moves, nil
}

// Place returns targets for the partitions of a new cluster.
func Place(storages []Storage, replicas, partitions int) ([][]string, error) {
	targets := make([][]string, partitions)
	moves, err := Plan(storages, replicas, targets)
	for _, m := range moves {
		targets[m.Partition] = m.To
	}
	return targets, err
}

// board is the state of a plan. Storages are numbered in the order of their names.
type board struct {
	names    []string
	group    []int  // of each storage
	takes    []bool // it may have replicas
	loads    []int  // replicas of each storage
	fresh    []int  // those of them that are still to be copied
	replicas int
	groupMax int     // replicas of one partition in one group
	sets     [][]int // storages of each partition, sorted
	first    [][]int // those that it has now and may keep
	on       [][]int // partitions of each storage, sorted
	groups   [][]int // storages of each group that take replicas
}

func newBoard(storages []Storage, replicas int, targets [][]string) (*board, error) {
	sorted := slices.SortedFunc(slices.Values(storages), func(a, b Storage) int { return strings.Compare(a.Name, b.Name) })
	b := &board{}
	numbers, groups := map[string]int{}, map[string]int{}
	for i, s := range sorted {
		if _, ok := numbers[s.Name]; ok {
			return nil, fmt.Errorf("storage %s is listed twice", s.Name)
		}
		numbers[s.Name] = i
		g, ok := groups[s.Group]
		if !ok {
			g, groups[s.Group] = len(groups), len(groups)
			b.groups = append(b.groups, nil)
		}
		b.names, b.group, b.takes = append(b.names, s.Name), append(b.group, g), append(b.takes, !s.Draining)
		if !s.Draining {
			b.groups[g] = append(b.groups[g], i)
		}
	}
	b.loads, b.fresh, b.on = make([]int, len(sorted)), make([]int, len(sorted)), make([][]int, len(sorted))
	if err := b.limit(replicas); err != nil {
		return nil, err
	}
	b.keep(targets, numbers)
	return b, nil
}

// limit finds how many replicas are possible, and how many must share a group.
func (b *board) limit(replicas int) error {
	able := 0
	for _, g := range b.groups {
		able += len(g)
	}
	switch {
	case replicas < 1:
		return fmt.Errorf("%d replicas of each partition, want at least 1", replicas)
	case able == 0:
		return errors.New("no storage takes replicas: add one, or end the draining of one")
	}
	b.replicas = min(replicas, able)
	for room := 0; room < b.replicas; {
		b.groupMax++
		room = 0
		for _, g := range b.groups {
			room += min(len(g), b.groupMax)
		}
	}
	return nil
}

// keep takes over what may stay: on storages that take replicas, within the
// limits of groups and number. Of too many those stay whose storages have fewest.
func (b *board) keep(targets [][]string, numbers map[string]int) {
	b.sets, b.first = make([][]int, len(targets)), make([][]int, len(targets))
	for p, target := range targets {
		for _, name := range target {
			if s, ok := numbers[name]; ok && b.takes[s] && !slices.Contains(b.sets[p], s) {
				b.put(p, s)
			}
		}
	}
	for p := range b.sets {
		for drop := b.superfluous(p); drop >= 0; drop = b.superfluous(p) {
			b.remove(p, drop)
		}
		b.first[p] = slices.Clone(b.sets[p])
	}
	clear(b.fresh)
}

// superfluous returns the storage of a partition that should go first, -1 if none
// has to: the one that has most, in a group that holds too many if there is one.
func (b *board) superfluous(p int) int {
	worst := -1
	crowded := slices.ContainsFunc(b.sets[p], func(s int) bool { return b.inGroup(p, b.group[s]) > b.groupMax })
	if !crowded && len(b.sets[p]) <= b.replicas {
		return -1
	}
	for _, s := range b.sets[p] {
		if crowded && b.inGroup(p, b.group[s]) <= b.groupMax {
			continue
		}
		if worst < 0 || b.loads[s] >= b.loads[worst] {
			worst = s
		}
	}
	return worst
}

func (b *board) inGroup(p, group int) (n int) {
	for _, s := range b.sets[p] {
		if b.group[s] == group {
			n++
		}
	}
	return n
}

func (b *board) put(p, s int) {
	b.sets[p], b.on[s] = insert(b.sets[p], s), insert(b.on[s], p)
	b.loads[s]++
	if !slices.Contains(b.first[p], s) {
		b.fresh[s]++
	}
}

func (b *board) remove(p, s int) {
	b.sets[p], b.on[s] = without(b.sets[p], s), without(b.on[s], p)
	b.loads[s]--
	if !slices.Contains(b.first[p], s) {
		b.fresh[s]--
	}
}

// fill gives every partition the replicas that it lacks, each on the storage that
// has fewest.
func (b *board) fill() {
	for p := range b.sets {
		for len(b.sets[p]) < b.replicas {
			best := -1
			for s := range b.names {
				if b.fits(p, s, -1) && (best < 0 || b.loads[s] < b.loads[best]) {
					best = s
				}
			}
			b.put(p, best) // there is one: limit has made room for all
		}
	}
}

// fits reports whether a partition may get a replica on a storage, in the place of
// the one on storage instead if that is not -1.
func (b *board) fits(p, s, instead int) bool {
	if _, has := slices.BinarySearch(b.sets[p], s); has || !b.takes[s] {
		return false
	}
	if instead >= 0 && b.group[instead] == b.group[s] {
		return true
	}
	return b.inGroup(p, b.group[s]) < b.groupMax
}

// target returns a partition's storages: what it had first, in that order.
func (b *board) target(p int, from []string) []string {
	var to, added []string
	for _, s := range b.sets[p] {
		if name := b.names[s]; !slices.Contains(from, name) {
			added = append(added, name)
		}
	}
	for _, name := range from {
		if s, ok := slices.BinarySearch(b.names, name); ok && slices.Contains(b.sets[p], s) && !slices.Contains(to, name) {
			to = append(to, name)
		}
	}
	return append(to, added...)
}

func insert(list []int, v int) []int {
	i, _ := slices.BinarySearch(list, v)
	return slices.Insert(list, i, v)
}

func without(list []int, v int) []int {
	i, _ := slices.BinarySearch(list, v)
	return slices.Delete(list, i, i+1)
}

func minus(a, b []string) (rest []string) {
	for _, s := range a {
		if !slices.Contains(b, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

func sameSet(a, b []string) bool { return len(a) == len(b) && len(minus(a, b)) == 0 }
