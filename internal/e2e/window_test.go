package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/waltz"
)

// windowMin is how many transactions a server remembers locks and requests of
// at least; windowMax is more than it remembers.
const (
	windowMin = 100_000
	windowMax = 140_000
)

// TestBeyondTheWindow lets so many transactions pass that the server has
// forgotten those before them. An answer that was lost is then found in the log
// itself, before and after SIGKILL (I4); locks that are no longer known are said
// to be (I8).
func TestBeyondTheWindow(t *testing.T) { beyondTheWindow(t, newServer(t, 1)) }

func beyondTheWindow(t *testing.T, s *devServer) {
	c := &caller{t: t}
	c.h.WindowMin = windowMin
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience())
	defer cancel()
	client := s.client()
	defer func() { require.NoError(t, client.Close()) }()
	_, _, err := c.append(ctx, client, 0, "first", waltz.Transaction{HighWaterMark: waltz.None, Key: "k"})
	require.NoError(t, err)

	deaf, mute := newProxy(t, s.addr, 0), newProxy(t, s.addr, 0)
	unheard, unsaid := c.lose(deaf, "deaf", func() { deaf.deaf.Store(true) }), c.lose(mute, "mute", func() { mute.mute.Store(true) })
	names := make([]string, windowMax)
	for i := range names {
		names[i] = fmt.Sprint("fill-", i)
	}
	c.appendMany(client, 0, names)
	deaf.heal()
	for _, l := range unheard[:len(unheard)/2] {
		c.resolve(ctx, l)
	}
	s.kill()
	s.start()
	mute.heal()
	for _, l := range append(unheard[len(unheard)/2:], unsaid...) {
		c.resolve(ctx, l)
	}

	var stale *waltz.StaleError
	_, _, err = c.append(ctx, client, 0, "same key", waltz.Transaction{HighWaterMark: waltz.None, Key: "k"})
	require.ErrorAs(t, err, &stale)
	_, _, err = c.append(ctx, client, 0, "reads", waltz.Transaction{HighWaterMark: 3, Locks: []waltz.Lock{seat.ID(1).Read()}})
	require.ErrorAs(t, err, &stale)
	_, _, err = c.append(ctx, client, 0, "appends only", waltz.Transaction{HighWaterMark: 3, Locks: []waltz.Lock{seat.ID(1).Append()}})
	require.NoError(t, err)
	_, _, err = c.append(ctx, client, 0, "at the floor", waltz.Transaction{HighWaterMark: stale.Floor, Locks: []waltz.Lock{seat.ID(99).Write()}})
	require.NoError(t, err)
	c.h.Logs = s.logs()
	require.NoError(t, c.h.Check())
}

// lost is an append whose answer did not come.
type lost struct {
	number int
	client *waltz.Client
	err    *waltz.UnknownError
}

// lose makes appends through a proxy that stops forwarding.
func (c *caller) lose(way *proxy, name string, stop func()) []lost {
	c.t.Helper()
	client := (&devServer{t: c.t, addr: way.listener.Addr().String()}).client()
	c.t.Cleanup(func() { require.NoError(c.t, client.Close()) })
	_, _, err := c.append(context.Background(), client, 0, name+" is connected", waltz.Transaction{HighWaterMark: waltz.None})
	require.NoError(c.t, err)
	stop()
	var out []lost
	for i := range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		tx := waltz.Transaction{HighWaterMark: 0, Locks: []waltz.Lock{seat.ID(uint64(i)).Write()}}
		number, _, err := c.append(ctx, client, 0, fmt.Sprint(name, i), tx)
		cancel()
		unknown, is := errors.AsType[*waltz.UnknownError](err)
		require.True(c.t, is, "%v", err)
		out = append(out, lost{number: number, client: client, err: unknown})
	}
	return out
}

func (c *caller) resolve(ctx context.Context, l lost) {
	c.t.Helper()
	id, err := l.client.Resolve(ctx, l.err)
	_, still := errors.AsType[*waltz.UnknownError](err)
	require.False(c.t, still, "%v", err)
	c.resolved(l.number, id, err)
}
