package dbtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// startTimeout bounds how long a server may take to answer or to end, recovery
// on a busy machine included.
const startTimeout = 2 * time.Minute

// until tries until it works, or ended is closed.
func until(ended <-chan struct{}, what string, try func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("%s: it ended: %w", what, err)
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %s: %w", what, startTimeout, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// waitGone waits until processes that are no children of ours have ended.
func waitGone(pids []int) error {
	return until(nil, "wait for the end of a server's processes", func(context.Context) error {
		for _, pid := range pids {
			if running(pid) {
				return fmt.Errorf("process %d is still there", pid)
			}
		}
		return nil
	})
}

// running reports whether a process is there, other than as a dead one that
// nobody has waited for.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
