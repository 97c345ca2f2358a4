//go:build !linux

package postgres

import "syscall"

// unanswered is left to the system's defaults.
func unanswered(string, string, syscall.RawConn) error { return nil }
