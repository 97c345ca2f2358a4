package e2e

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/waltz-log/waltz/internal/e2e/history"
)

// syncGate decides about every fsync and fdatasync, and every write that is its own
// sync (O_DSYNC), of the processes that were started behind it: the kernel asks before it carries one out (seccomp's user
// notification). The program is the one that users get, and knows nothing of it.
type syncGate struct {
	fd      int
	failing atomic.Bool
	failed  atomic.Int64 // calls that were made to fail
}

// newSyncGate puts a gate before what this goroutine starts from now on. The
// goroutine keeps its thread, which ends with it: a filter is never taken off.
func newSyncGate(t *testing.T) *syncGate {
	t.Helper()
	runtime.LockOSThread()
	require.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jt: 3},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FDATASYNC, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PWRITE64, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF},
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&filter)))
	require.Zero(t, errno, "this test needs Linux 5.5 with seccomp, and that no filter with a listener is there already: %v", errno)
	g := &syncGate{fd: int(fd)}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { stopped <- g.serve(stop) }()
	t.Cleanup(func() { // after the processes' own, which were registered later
		close(stop)
		require.NoError(t, <-stopped)
		require.NoError(t, unix.Close(g.fd))
	})
	return g
}

// question and answer are the kernel's struct seccomp_notif and seccomp_notif_resp.
type question struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	at         uint64
	args       [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

// syncs reports whether what is asked for makes something durable. A write does if
// its file was opened so; it is left alone if that can't be found out.
func (q *question) syncs() bool {
	if q.nr != unix.SYS_PWRITE64 {
		return true
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/%d/fdinfo/%d", q.pid, q.args[0]))
	if err != nil {
		return false
	}
	found := regexp.MustCompile(`(?m)^flags:\s*([0-7]+)$`).FindSubmatch(info)
	if found == nil {
		return false
	}
	flags, err := strconv.ParseUint(string(found[1]), 8, 64)
	return err == nil && flags&unix.O_DSYNC != 0
}

// serve answers until it is stopped, when nobody asks any more.
func (g *syncGate) serve(stop <-chan struct{}) error {
	const wait = 20 // milliseconds, after which it looks at stop
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		ready := []unix.PollFd{{Fd: int32(g.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, wait); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll: %w", err)
		} else if n <= 0 || ready[0].Revents&unix.POLLIN == 0 {
			continue
		}
		if err := g.answer(); err != nil {
			return err
		}
	}
}

// answer lets one call happen, or fail. Who asked may be gone meanwhile, or ask
// again after a signal.
func (g *syncGate) answer() error {
	var q question
	if err := ioctl(g.fd, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&q)); err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) {
			return nil
		}
		return fmt.Errorf("receive: %w", err)
	}
	a := answer{id: q.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	failing := g.failing.Load() && q.syncs()
	if failing {
		a.flags, a.errno = 0, -int32(unix.EIO)
	}
	switch err := ioctl(g.fd, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&a)); {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return fmt.Errorf("send: %w", err)
	}
	if failing {
		g.failed.Add(1)
	}
	return nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// TestFailedFsyncEndsTheProcess: the server that users run ends with 1 and says
// why when a sync fails, with nobody's help and at once; what it was asked to write
// last is not acknowledged, what it acknowledged is there when it is started again.
func TestFailedFsyncEndsTheProcess(t *testing.T) {
	s := unstarted(t, 2, command)
	gate := newSyncGate(t)
	s.start()
	client := s.client()
	defer func() { require.NoError(t, client.Close()) }()
	h := &history.History{}
	require.NoError(t, appendUntil(t, client, h, nil, 20))
	for _, op := range h.Ops {
		require.Equal(t, history.Committed, op.Outcome)
	}

	gate.failing.Store(true)
	require.NoError(t, appendUntil(t, client, h, nil, 21))
	require.Equal(t, history.Unknown, h.Ops[20].Outcome, "I1, I8: it was not synced")
	select {
	case <-s.process.ended:
	case <-time.After(patience()):
		require.Fail(t, "it goes on after a failed sync", s.process.stderr())
	}
	require.Positive(t, gate.failed.Load())
	require.Equal(t, 1, s.process.cmd.ProcessState.ExitCode(), s.process.stderr())
	said := regexp.MustCompile(`(?m)^waltz: .*`).FindString(s.process.stderr())
	for _, text := range []string{s.dir, "storage has failed", "sync failed", syscall.EIO.Error()} {
		require.Contains(t, said, text)
	}
	require.True(t, strings.HasSuffix(s.process.stderr(), said+"\n"), "it is said once, at the end: %s", s.process.stderr())
	lines, _ := s.process.have()
	require.Len(t, lines, 1, "nothing but that it was ready")

	gate.failing.Store(false)
	s.start()
	resumes(t, client, h)
	h.Logs = s.logs()
	require.NoError(t, h.Check())
}
