package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// binaries builds the commands once for all tests, with the race detector if
// the tests have it.
type binaries struct {
	once sync.Once
	dir  string
	err  error
}

var commands binaries // the one thing that the tests of this package share

func (b *binaries) build() {
	if b.dir, b.err = os.MkdirTemp("", "waltz-e2e-bin-"); b.err != nil {
		return
	}
	args := []string{"build", "-o", b.dir + "/"}
	if raceDetector {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/waltz", "./examples/ledger")...)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("build the commands: %w\n%s", err, out)
	}
}

// remove is for the end of the run.
func (b *binaries) remove() { _ = os.RemoveAll(b.dir) }

// binary returns the path of a command.
func binary(t testing.TB, name string) string {
	t.Helper()
	commands.once.Do(commands.build)
	require.NoError(t, commands.err)
	return filepath.Join(commands.dir, name)
}
