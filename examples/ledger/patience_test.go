package main

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Trouble that many meet is a line when it begins, seldom one while it lasts, and one when
// it is over, whatever comes and goes.
func TestTroubleIsToldSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, nil))
		lines := func() int {
			defer out.Reset()
			return strings.Count(out.String(), "\n")
		}
		var trouble trouble
		trouble.over(logger)
		require.Zero(t, lines())
		var all sync.WaitGroup
		for range 128 {
			all.Go(func() {
				for range 50 {
					trouble.tell(logger, errors.New("connection refused"))
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		all.Wait()
		require.Contains(t, out.String(), "connection refused")
		require.Equal(t, 1, lines())
		time.Sleep(tellAgain)
		trouble.tell(logger, errors.New("connection refused"))
		require.Contains(t, out.String(), "tries=6401")
		require.Equal(t, 1, lines())
		for range 100 {
			trouble.over(logger)
			trouble.tell(logger, errors.New("connection refused"))
		}
		require.Contains(t, out.String(), "the database is back")
		require.Equal(t, 1, lines(), "it comes and goes")
	})
}
