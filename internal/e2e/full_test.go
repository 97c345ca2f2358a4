package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// mountWorker mounts a small file system that only it and what it becomes can
// see, then becomes that.
func mountWorker(_ context.Context, j job) error {
	if err := unix.Mount("tmpfs", j.Dir, "tmpfs", 0, fmt.Sprintf("size=%d", j.Size)); err != nil {
		return fmt.Errorf("mount a tmpfs on %s: %w", j.Dir, err)
	}
	env := append(os.Environ(), workerEnv+"=")
	return fmt.Errorf("exec %q: %w", j.Exec, syscall.Exec(j.Exec[0], j.Exec, env))
}

// ownMounts gives a process a mount namespace of its own, and where we are not
// root the right to mount in it.
func ownMounts() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return attr
}

// TestFullDisk fills the file system under a running server: appends are
// refused with an error that says why, nothing acknowledged is lost, reads go
// on, and when there is room again writing goes on by itself.
func TestFullDisk(t *testing.T) {
	s := &devServer{t: t, dir: t.TempDir(), addr: freeAddress(t), partitions: 1}
	s.process = startWorkerIn(t, ownMounts(), job{
		Kind: "mount", Name: "waltz dev on a small file system", Dir: s.dir, Size: 400 << 20,
		Exec: []string{binary(t, "./cmd/waltz"), "dev", "--dir", filepath.Join(s.dir, "log"), "--listen", s.addr, "--partitions", "1"},
	})
	s.ready()
	inside := filepath.Join("/proc", strconv.Itoa(s.process.cmd.Process.Pid), "root", s.dir)
	refused := make(chan error, 1)
	client := s.client(waltz.WithHooks(waltz.Hooks{Refused: func(_ waltz.Partition, err error) {
		if errors.Is(err, waltz.ErrStorageFull) {
			select {
			case refused <- err:
			default:
			}
		}
	}}))
	defer func() { require.NoError(t, client.Close()) }()

	h := &history.History{}
	require.NoError(t, appendUntil(t, client, h, nil, 50))
	fill(t, filepath.Join(inside, "ballast"))
	require.ErrorIs(t, appendUntil(t, client, h, refused, 1<<20), waltz.ErrStorageFull)
	h.Logs = s.logs()
	require.NoError(t, h.Check(), "while the disk is full")

	require.NoError(t, os.Remove(filepath.Join(inside, "ballast")))
	require.NoError(t, appendUntil(t, client, h, nil, len(h.Ops)+50))
	h.Logs = s.logs()
	require.NoError(t, h.Check(), "when there is room again")
}

// appendUntil appends large transactions until there are so many, or the log
// says that it refuses; the append that waits then is given up.
func appendUntil(t *testing.T, client *waltz.Client, h *history.History, refused <-chan error, count int) (why error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case why = <-refused:
			cancel()
		case <-stop:
		}
	}()
	for len(h.Ops) < count && ctx.Err() == nil {
		name := fmt.Sprint("large-", len(h.Ops))
		op := history.Op{Client: "t", Name: name, Mark: waltz.None, Invoked: now(), Returned: history.Pending,
			Data: append([]byte(name+"\n"), make([]byte, 512<<10)...)}
		id, err := client.Append(ctx, 0, waltz.Transaction{Data: op.Data, HighWaterMark: waltz.None})
		if op.Outcome, op.ID = outcome(id, err); op.Outcome != history.Unknown {
			op.Returned = now()
		}
		h.Ops = append(h.Ops, op)
	}
	close(stop)
	<-watched
	if why == nil {
		why = ctx.Err()
	}
	return why
}

// fill writes until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	for size := 1 << 20; size > 0; {
		if _, err = f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
}
