package partition

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/txn"
)

// In an outage that lasts, tries follow each other for hours, and which storage
// fails first differs from one to the next: that is a line a minute, not one each.
func TestReasonsThatChangeFromTryToTry(t *testing.T) {
	var lines bytes.Buffer // read when nothing writes any more
	var tries atomic.Int64
	b := start(t, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&lines, nil))
		o.Open = func(context.Context, txn.Partition, func(txn.ID)) (Session, error) {
			return nil, fmt.Errorf("storage s%d is away", tries.Add(1)%2)
		}
	})
	defer b.done()
	await := func(n int64) {
		b.eventually(func() bool { return tries.Load() >= n }, "it is tried again")
	}
	await(10)
	b.mu.Lock()
	b.clock = b.clock.Add(2 * sayEvery)
	b.mu.Unlock()
	await(tries.Load() + 10)
	b.done()
	require.Equal(t, 2, strings.Count(lines.String(), "no store session"), lines.String())
}
