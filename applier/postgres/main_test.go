package postgres

import (
	"os"
	"testing"

	"github.com/waltz-log/waltz/internal/dbtest"
)

// servers are those that this package's tests share.
var servers dbtest.Servers

// TestMain is also the process that is killed: the test binary starts itself.
func TestMain(m *testing.M) {
	if address := os.Getenv(killURL); address != "" && os.Getenv(killWard) != "" {
		os.Exit(wardVictim(address))
	} else if address != "" {
		os.Exit(victim(address))
	}
	os.Exit(servers.Run(m))
}
