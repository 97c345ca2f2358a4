package measure

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	require.Zero(t, FlushTimes{}.Median())
	require.Equal(t, 2*time.Second, FlushTimes{3 * time.Second, time.Second, 2 * time.Second}.Median())
}

func TestFlushesLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	for _, zeroFilled := range []bool{true, false} {
		times, err := Flushes(dir, 20, zeroFilled)
		require.NoError(t, err)
		require.Len(t, times, 20)
		require.Positive(t, times.Median())
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFlushesNameTheFolder(t *testing.T) {
	_, err := Flushes(t.TempDir()+"/missing", 1, false)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFlushCounter(t *testing.T) {
	n, err := flushesOf("226097 71713 8325466 70503 1101744 302588 46026376 133658 0 56892 223924 79449 42 18943232 5844 371484 13917")
	require.NoError(t, err)
	require.Equal(t, int64(371484), n)
	_, err = flushesOf("1 2 3 4 5 6 7 8 9 10 11")
	require.ErrorContains(t, err, "does not count flushes")
}

func TestListenerIsFoundWithItsCPU(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	pid, err := Listener(l.Addr().String())
	require.NoError(t, err)
	require.Equal(t, os.Getpid(), pid)

	before := OwnCPU()
	for OwnCPU()-before < 50*time.Millisecond { // use some
	}
	cpu, err := ProcessCPU(pid)
	require.NoError(t, err)
	require.InDelta(t, OwnCPU(), cpu, float64(100*time.Millisecond))
}

func TestNoListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	_, err = Listener(addr)
	require.ErrorContains(t, err, "listens on "+addr)
}
