package storage

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
)

// I9: what a stream remembers of its appends does not grow while there is always
// one on the way.
func TestLaneStaysAsLongAsWhatWaits(t *testing.T) {
	a := &appendStream{wake: make(chan struct{}, 1), lanes: map[txn.Partition]*lane{}}
	l := a.lane(0)
	const waiting = 10
	for seq := range uint64(100_000) {
		l.push(seq)
		if seq >= waiting {
			l.durable(session.Appended{}, nil)
			require.Equal(t, seq-waiting, l.answer.Seq)
		}
	}
	require.LessOrEqual(t, cap(l.seqs), 8*waiting)
}
