package e2e

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(workerEnv); job != "" {
		if err := work(job); err != nil {
			fmt.Fprintln(os.Stderr, "worker:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		commands.remove()
		os.Exit(code)
	}))
}

// soak reports whether the long form was asked for.
func soak() bool { return os.Getenv("WALTZ_SOAK") != "" }

// sized returns the count of the run's size, and its name for a sub-test.
func sized(short, long int, what string) (int, string) {
	if soak() {
		return long, fmt.Sprintf("%d_%s", long, what)
	}
	return short, fmt.Sprintf("shortened_to_%d_%s", short, what)
}
