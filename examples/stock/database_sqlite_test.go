//go:build !postgres && !mysql

package main

import (
	"path/filepath"
	"testing"
)

// newDatabase returns the address of an empty database for one test.
func newDatabase(t *testing.T) string {
	return filepath.Join(t.TempDir(), "stock.db")
}
