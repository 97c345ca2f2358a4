package dbtest

import "syscall"

// orphaned makes the kernel send a signal to a child whose parent's thread has
// ended, in case that the watcher is gone, too.
func orphaned(a *syscall.SysProcAttr, s syscall.Signal) { a.Pdeathsig = s }
