//go:build mutant

// Package mutant plants bugs on purpose, so that we know which test would catch
// them. Without the build tag "mutant" every plant is compiled away; with it,
// the environment variable WALTZ_MUTANT names the one that is active. The table
// of mutants and the tests that catch them is docs/mutants.md.
package mutant

import "os"

var active = os.Getenv("WALTZ_MUTANT")

// On reports whether the named bug is planted.
func On(name string) bool { return name == active }
