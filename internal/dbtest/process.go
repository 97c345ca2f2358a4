package dbtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
)

// process is one run of a server: the program and the children that it has at
// the moment.
type process struct {
	pid   int
	ended chan struct{} // closed when the program has ended
	err   error         // how; to be read after ended
}

// start runs a command until it ends. A goroutine stays with it: the kernel sends
// the signal for orphans when the *thread* ends that started them.
func start(c *exec.Cmd, orphan syscall.Signal) (*process, error) {
	orphaned(c.SysProcAttr, orphan)
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: nobody else may end this thread
		err := c.Start()
		if err == nil {
			p.pid = c.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = c.Wait()
			close(p.ended)
		}
	}()
	return p, <-started
}

// alive reports whether the program has not ended.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// children lists the processes that the program has started. PostgreSQL's are
// leaders of groups of their own, so that a signal to its group reaches none of them.
func (p *process) children() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent(pid) == p.pid {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// parent reads who started a process; 0 if it has ended.
func parent(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(stat[max(0, strings.LastIndexByte(string(stat), ')')):]), ") ")
	fields := strings.Fields(rest) // state, parent, ...
	if len(fields) < 2 {
		return 0
	}
	id, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return id
}

// signalAll signals the program first, so that it starts no more children, and
// then those. One that has just ended is fine.
func (p *process) signalAll(s syscall.Signal) error {
	if !p.alive() {
		return nil
	}
	children, err := p.children()
	if err != nil {
		return err
	}
	for _, pid := range append([]int{p.pid}, children...) {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("signal %v to process %d: %w", s, pid, err)
		}
	}
	return nil
}

// stopAll stops program and children until none is left that runs: one may have been
// started on the way.
func (p *process) stopAll() error {
	if err := syscall.Kill(p.pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("stop process %d: %w", p.pid, err)
	}
	return p.signalAll(syscall.SIGSTOP)
}

// killAll ends everything at once, as a power cut would, except that the
// operating system's cache survives. It returns when all of it has ended.
func (p *process) killAll() error {
	if !p.alive() {
		return nil
	}
	if err := p.stopAll(); err != nil {
		return err
	}
	children, err := p.children()
	if err != nil {
		return err
	}
	if err := p.signalAll(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return waitGone(children)
}
