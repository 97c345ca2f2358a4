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
	"time"

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
	if err := os.Unsetenv(workerEnv); err != nil {
		return err
	}
	return fmt.Errorf("exec %q: %w", j.Exec, syscall.Exec(j.Exec[0], j.Exec, os.Environ()))
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
// refused with an error that says why, reads go on, nothing acknowledged is lost,
// and when there is room again writing goes on by itself.
func TestFullDisk(t *testing.T) {
	s := unstarted(t, 1, command)
	mounted := filepath.Dir(s.dir)
	env, self := reexec(t, job{Kind: "mount", Dir: mounted, Size: 400 << 20, Exec: s.command()})
	s.process = startIn(t, ownMounts(), "waltz dev on a small file system", env, self[0])
	s.ready()
	inside := filepath.Join("/proc", strconv.Itoa(s.process.cmd.Process.Pid), "root", mounted)
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
	whileFull := s.logs()

	require.NoError(t, os.Remove(filepath.Join(inside, "ballast")))
	resumes(t, client, h)
	require.NoError(t, appendUntil(t, client, h, nil, len(h.Ops)+50))
	require.Equal(t, history.Committed, h.Ops[len(h.Ops)-1].Outcome)
	h.Logs = s.logs()
	require.NoError(t, h.Check())
	for _, op := range h.Ops[:50] {
		require.Less(t, int(op.ID), len(whileFull[0]), "I1: what was acknowledged can be read")
	}
	require.Equal(t, h.Logs[0][:len(whileFull[0])], whileFull[0], "I2")
}

// appendUntil appends large transactions until there are so many, or the log
// says that it refuses. A call that is not answered is given up soon: the client
// goes on trying as long as its caller waits.
func appendUntil(t *testing.T, client *waltz.Client, h *history.History, refused <-chan error, count int) error {
	t.Helper()
	for len(h.Ops) < count {
		select {
		case err := <-refused:
			return err
		default:
		}
		name := fmt.Sprint("large-", len(h.Ops))
		op := history.Op{
			Client: "t", Name: name, Mark: waltz.None, Invoked: now(), Returned: history.Pending,
			Data: append([]byte(name+"\n"), make([]byte, 512<<10)...),
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		id, err := client.Append(ctx, 0, waltz.Transaction{Data: op.Data, HighWaterMark: waltz.None})
		cancel()
		if op.Outcome, op.ID = outcome(id, err); op.Outcome != history.Unknown {
			op.Returned = now()
		}
		h.Ops = append(h.Ops, op)
	}
	return nil
}

// resumes waits until appends are committed again.
func resumes(t *testing.T, client *waltz.Client, h *history.History) {
	t.Helper()
	eventually(t, "writing goes on", func() bool {
		require.NoError(t, appendUntil(t, client, h, nil, len(h.Ops)+1))
		return h.Ops[len(h.Ops)-1].Outcome == history.Committed
	})
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
