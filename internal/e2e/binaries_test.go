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

// binary builds a command as the tests are built: with the race detector if
// they have it.
func binary(t testing.TB, pkg string) string {
	t.Helper()
	if !raceDetector {
		return plainBinary(t, pkg)
	}
	path, err := commands.build(pkg, "-race")
	require.NoError(t, err)
	return path
}

// plainBinary builds a command without the race detector, for figures.
func plainBinary(t testing.TB, pkg string) string {
	t.Helper()
	path, err := commands.build(pkg)
	require.NoError(t, err)
	return path
}
