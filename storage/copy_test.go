package storage_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// copyOf copies a folder while it is in use, as a kill would leave it.
func copyOf(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir() + "/copy"
	require.NoError(t, os.CopyFS(to, os.DirFS(dir)))
	return to
}
