package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/waltz"
)

// While the log is known to be away, one write waits for it and the others are refused at
// once; a short absence is waited out by all.
func TestCircuit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c circuit
		heard := 0
		hooks := c.watch(waltz.Hooks{
			Connected:    func(string) { heard++ },
			Disconnected: func(string, int, error) { heard++ },
		})
		enters := func() (leave func()) {
			leave, err := c.enter()
			require.NoError(t, err)
			return leave
		}
		enters()() // nothing is known yet
		hooks.Connected("a")
		hooks.Connected("b")
		hooks.Disconnected("a", 0, errors.New("gone"))
		time.Sleep(time.Minute)
		enters()()
		hooks.Disconnected("b", 1, errors.New("gone"))
		enters()()
		enters()()

		time.Sleep(circuitGrace)
		tries := enters()
		_, err := c.enter()
		require.ErrorIs(t, err, waltz.ErrUnavailable)
		require.ErrorContains(t, err, "unreachable for 1s: nothing was done")
		tries()
		enters()()

		tries = enters()
		hooks.Connected("b")
		enters()()
		tries()
		require.Equal(t, 5, heard)
	})
}
