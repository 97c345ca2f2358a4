// Package archtest keeps the rules that nobody can hold in mind at once: which
// room may import which, which packages stay pure, that no package keeps state
// of its own, that links lead somewhere, that every planted bug is known. It
// has tests only; each forbidden thing is a line with its reason, and a failure
// prints the reason.
package archtest
