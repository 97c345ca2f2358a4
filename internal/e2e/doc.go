// Package e2e holds the tests that prove the promises of Waltz with real
// processes: servers and workers that are killed with SIGKILL, real files, real
// sockets, and the binaries that users get. What callers saw is recorded and
// judged afterwards by package history; nothing is trusted to have gone well.
//
// A worker is this test binary started again with WALTZ_E2E_WORKER set: it can be
// killed at any moment, as an application can. Every process ends with its test.
//
// The tests have two sizes. WALTZ_SOAK=1 asks for the counts and durations that
// the project promises; otherwise a test whose name ends in its count runs that.
package e2e
