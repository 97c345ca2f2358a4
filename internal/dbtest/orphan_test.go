package dbtest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/dbtest"
)

const orphanEnv = "WALTZ_DBTEST_ORPHAN"

// TestOrphan is the process that TestServersEndWithAKilledProcess kills.
func TestOrphan(t *testing.T) {
	if os.Getenv(orphanEnv) == "" {
		return
	}
	pg, maria := dbtest.PostgreSQL(t), dbtest.MariaDB(t)
	require.NoError(t, maria.Pause())
	fmt.Printf("%s\n%s\n%s\n", pg.Addr(), maria.Addr(), os.Getenv("TMPDIR"))
	select {}
}

// A server and its folder go with the process, paused or not.
func TestServersEndWithAKilledProcess(t *testing.T) {
	dir, err := os.MkdirTemp("", "waltz-orphan-") //nolint:usetesting // the parent of t.TempDir lets nobody else in
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o777)) // servers run as somebody else
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := exec.Command(os.Args[0], "-test.run=^TestOrphan$")
	c.Env = append(os.Environ(), orphanEnv+"=1", "TMPDIR="+dir)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	lines := bufio.NewScanner(out)
	var addresses []string
	for len(addresses) < 2 && lines.Scan() {
		addresses = append(addresses, lines.Text())
	}
	require.Len(t, addresses, 2)
	require.NoError(t, c.Process.Kill())
	_ = c.Wait() // killed
	for _, a := range addresses {
		require.Eventually(t, func() bool {
			conn, err := net.DialTimeout("tcp", a, time.Second)
			if err == nil {
				conn.Close()
			}
			return err != nil
		}, 30*time.Second, 20*time.Millisecond, a)
	}
	require.Eventually(t, func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 0
	}, 30*time.Second, 20*time.Millisecond)
}
