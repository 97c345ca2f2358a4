//go:build !linux

package measure

import (
	"errors"
	"os"
	"time"
)

func datasync(f *os.File) error { return f.Sync() }

// DiskFlushes is to be had on Linux only.
func DiskFlushes(string) (int64, error) { return 0, errors.ErrUnsupported }

// OwnCPU is to be had on Linux only.
func OwnCPU() time.Duration { return 0 }

// ProcessCPU is to be had on Linux only.
func ProcessCPU(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

// Listener is to be had on Linux only.
func Listener(string) (int, error) { return 0, errors.ErrUnsupported }
