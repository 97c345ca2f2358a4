package feed

import "sort"

// fifo is a queue in a ring that grows by doubling.
type fifo[T any] struct {
	ring []T // length is a power of two, or 0
	head int
	n    int
}

func (q *fifo[T]) len() int { return q.n }

func (q *fifo[T]) at(i int) T { return q.ring[(q.head+i)&(len(q.ring)-1)] }

func (q *fifo[T]) push(v T) {
	if q.n == len(q.ring) {
		q.grow()
	}
	q.ring[(q.head+q.n)&(len(q.ring)-1)] = v
	q.n++
}

func (q *fifo[T]) pop() T {
	var zero T
	v := q.ring[q.head]
	q.ring[q.head] = zero
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.n--
	return v
}

func (q *fifo[T]) grow() {
	ring := make([]T, max(8, 2*len(q.ring)))
	for i := range q.n {
		ring[i] = q.at(i)
	}
	q.ring, q.head = ring, 0
}

// search returns the first index whose element satisfies ok, which must be
// false and then true; len() if none does.
func (q *fifo[T]) search(ok func(T) bool) int {
	return sort.Search(q.n, func(i int) bool { return ok(q.at(i)) })
}
