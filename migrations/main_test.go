package migrations_test

import (
	"os"
	"testing"

	"github.com/waltz-log/waltz/internal/dbtest"
)

var servers dbtest.Servers

// This binary is also the instance that tests start several of, and kill.
func TestMain(m *testing.M) {
	if os.Getenv(childURL) != "" {
		os.Exit(child())
	}
	os.Exit(servers.Run(m))
}
