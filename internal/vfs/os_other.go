//go:build !linux

package vfs

import "os"

// datasync is a full sync where there is nothing cheaper that reaches the disk.
func datasync(f *os.File) error { return f.Sync() }
