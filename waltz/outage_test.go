package waltz

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An outage is a line when it begins, and one a minute.
func TestOutageIsToldOfOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outage
		require.True(t, o.news(false), "the first failure")
		require.False(t, o.news(false))
		require.True(t, o.news(true), "another outage")
		for range 2 {
			time.Sleep(outageEvery - 1)
			require.False(t, o.news(false))
			time.Sleep(time.Nanosecond)
			require.True(t, o.news(false))
		}
	})
}
