//go:build !linux

package dbtest

import "syscall"

// orphaned: only Linux tells a child that its parent has ended.
func orphaned(*syscall.SysProcAttr, syscall.Signal) {}
