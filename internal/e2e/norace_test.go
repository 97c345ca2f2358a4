//go:build !race

package e2e

// raceDetector says whether the tests, and so the binaries, run with it.
const raceDetector = false
