package waltz

import "time"

// Hooks are functions that the client calls upon events, for metrics and
// alarms. Any may be nil. They are called from the client's own goroutines,
// concurrently, and must return soon; none is called with a lock held.
type Hooks struct {
	// Appended is called when an Append ends: with nil if it was committed, else
	// with the error that it returns. took includes waiting and resending.
	Appended func(p Partition, took time.Duration, err error)
	// Connected is called when an append stream to a server is ready.
	Connected func(addr string)
	// Disconnected is called when one breaks; unanswered tells how many appends
	// lost their answer and are sent again.
	Disconnected func(addr string, unanswered int, err error)
	// Refused is called when a partition begins to refuse appends for now, or for
	// another reason than before; they wait and are sent again. err wraps
	// [ErrUnavailable] or [ErrStorageFull].
	Refused func(p Partition, err error)
	// Routed is called when the owners of partitions were learnt: how many of
	// them have one.
	Routed func(owned, partitions int)
	// FeedBroken is called when a subscription lost its stream and resumes; err is
	// a damaged or incomplete feed too (I6).
	FeedBroken func(p Partition, highWaterMark ID, err error)
}
