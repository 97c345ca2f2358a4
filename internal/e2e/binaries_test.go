package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// binaries builds each command once for all tests.
type binaries struct {
	mu  sync.Mutex
	dir string
	had map[string]error
}

var commands binaries // the one thing that the tests of this package share

// build returns the path of a command, built with these flags.
func (b *binaries) build(pkg string, flags ...string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dir == "" {
		dir, err := os.MkdirTemp("", "waltz-e2e-bin-")
		if err != nil {
			return "", err
		}
		b.dir, b.had = dir, make(map[string]error)
	}
	path := filepath.Join(b.dir, filepath.Base(pkg)+strings.Join(flags, ""))
	err, had := b.had[path]
	if !had {
		err = build(pkg, path, flags)
		b.had[path] = err
	}
	return path, err
}

func build(pkg, path string, flags []string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), pkg)...)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// remove is for the end of the run.
func (b *binaries) remove() { _ = os.RemoveAll(b.dir) }

// command builds a command as the tests are built: with the race detector and
// with planted bugs if they have them.
func command(t testing.TB, pkg string) string {
	t.Helper()
	var flags []string
	if raceDetector {
		flags = append(flags, "-race")
	}
	if plantedBugs {
		flags = append(flags, "-tags=mutant")
	}
	return built(t, pkg, flags...)
}

// plainCommand builds a command for figures.
func plainCommand(t testing.TB, pkg string) string { return built(t, pkg) }

func built(t testing.TB, pkg string, flags ...string) string {
	t.Helper()
	path, err := commands.build(pkg, flags...)
	require.NoError(t, err)
	return path
}
