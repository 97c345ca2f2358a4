// Package waltz is the client of a Waltz log.
package waltz
