//go:build !mutant

package e2e

// plantedBugs says whether the tests, and so the commands, have them.
const plantedBugs = false
