package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/waltz"
)

const processGiveUp = time.Minute

// member is one process of a cluster of the tests.
type member struct {
	t    *testing.T
	addr string
	args []string
	said io.Writer // stderr
	cmd  *exec.Cmd
}

// newMember gives a process an address that it keeps over its lives.
func newMember(t *testing.T, args ...string) *member {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	m := &member{t: t, addr: l.Addr().String(), said: os.Stderr}
	m.args = slices.Concat(args[:2], []string{"--listen", m.addr, "--output", "json", "--log-level", "error"}, args[2:])
	t.Cleanup(func() { m.end(syscall.SIGKILL) })
	return m
}

// start runs the process and returns what it says when it is ready.
func (m *member) start() map[string]any {
	m.t.Helper()
	self, err := os.Executable()
	require.NoError(m.t, err)
	m.cmd = exec.Command(self, m.args...)
	m.cmd.Args[0] = "waltz" // by which the test binary knows what to run
	m.cmd.Stderr = m.said
	out, err := m.cmd.StdoutPipe()
	require.NoError(m.t, err)
	require.NoError(m.t, m.cmd.Start())
	var ready map[string]any
	require.NoError(m.t, json.NewDecoder(out).Decode(&ready), "%v did not become ready", m.args)
	return ready
}

// end sends a signal and returns the exit code, -1 after a kill.
func (m *member) end(sig syscall.Signal) int {
	if m.cmd == nil {
		return 0
	}
	_ = m.cmd.Process.Signal(sig) // it may have ended
	_ = m.cmd.Wait()              // the exit code tells
	code := m.cmd.ProcessState.ExitCode()
	m.cmd = nil
	return code
}

// members are a server and its storages.
type members struct {
	server   *member
	storages []*member
	key      string
}

func startMembers(t *testing.T, storages int) *members {
	dir := t.TempDir()
	c := &members{}
	var named []string
	for i := range storages {
		name := fmt.Sprintf("s%d", i+1)
		s := newMember(t, "storage", "run", "--name", name, "--dir", filepath.Join(dir, name))
		s.start()
		c.storages = append(c.storages, s)
		named = append(named, name+"="+s.addr)
	}
	c.server = newMember(t, "server", "run", "--metadata", "file://"+filepath.Join(dir, "metadata"),
		"--create", "--partitions", "2", "--storages", strings.Join(named, ","))
	c.key = c.server.start()["cluster_key"].(string)
	return c
}

// hammer appends from several goroutines until it is stopped, and knows what was
// acknowledged.
type hammer struct {
	cancel    context.CancelFunc
	workers   sync.WaitGroup
	committed atomic.Int64
	slowest   atomic.Int64

	mu    sync.Mutex
	acked map[waltz.ID]string
	err   error
}

func startHammer(t *testing.T, c *waltz.Client, workers int) *hammer {
	h := &hammer{acked: map[waltz.ID]string{}}
	ctx, cancel := context.WithCancel(t.Context())
	h.cancel = cancel
	for w := range workers {
		h.workers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				data, began := fmt.Sprintf("worker %d transaction %d", w, i), time.Now()
				id, err := c.Append(ctx, 0, waltz.Transaction{Data: []byte(data), HighWaterMark: waltz.None})
				h.took(ctx, id, data, time.Since(began), err)
			}
		})
	}
	return h
}

func (h *hammer) took(ctx context.Context, id waltz.ID, data string, took time.Duration, err error) {
	if ctx.Err() != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.err = err
		return
	}
	h.acked[id] = data
	h.committed.Add(1)
	h.slowest.Store(max(h.slowest.Load(), int64(took)))
}

// more waits until so many more are acknowledged.
func (h *hammer) more(t *testing.T, n int64) {
	t.Helper()
	goal := h.committed.Load() + n
	require.Eventually(t, func() bool { return h.committed.Load() >= goal }, processGiveUp, time.Millisecond)
}

// stop ends the load and demands that all that was acknowledged is in the log.
func (h *hammer) stop(t *testing.T, c *waltz.Client) {
	t.Helper()
	h.cancel()
	h.workers.Wait()
	require.NoError(t, h.err)
	hwm, err := c.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	found := map[waltz.ID]string{}
	for r, err := range c.Read(t.Context(), 0, 0, hwm) {
		require.NoError(t, err)
		found[r.ID] = string(r.Data)
	}
	require.Len(t, found, int(hwm)+1)
	for id, data := range h.acked {
		require.Equal(t, data, found[id], "transaction %d", id)
	}
}

// same waits until all storages hold the log to the same end, and demands that
// they hold the same bytes.
func (c *members) same(t *testing.T, last txn.ID) {
	t.Helper()
	var sums []string
	for _, s := range c.storages {
		client, err := storageclient.New(storageclient.Options{Address: s.addr, ClusterKey: c.key})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			all, err := client.Replicas(t.Context(), 0)
			return err == nil && len(all) == 1 && all[0].Promise.Last >= last
		}, processGiveUp, 5*time.Millisecond, "storage at %s", s.addr)
		d, err := client.Checksum(t.Context(), 0, 0, last)
		require.NoError(t, err)
		sums = append(sums, fmt.Sprintf("%x", d.Sum))
		require.NoError(t, client.Close())
	}
	for _, sum := range sums {
		require.Equal(t, sums[0], sum)
	}
}

// TestProcessesOfAClusterAreKilled: a storage is killed under load and comes back,
// then the server: nothing acknowledged is lost, and the replicas end up byte-equal.
func TestProcessesOfAClusterAreKilled(t *testing.T) {
	c := startMembers(t, 3)
	client, err := waltz.Dial(t.Context(), "waltz://"+c.server.addr)
	require.NoError(t, err)
	defer client.Close()
	h := startHammer(t, client, 16)
	h.more(t, 500)
	for _, s := range c.storages {
		s.end(syscall.SIGKILL)
		h.more(t, 500)
		s.start()
		h.more(t, 500)
		c.same(t, mark(t, client)) // before the next one goes, it must count again
	}
	c.server.end(syscall.SIGKILL)
	c.server.start()
	h.more(t, 500)
	h.stop(t, client)
	c.same(t, mark(t, client))
	require.Zero(t, c.server.end(syscall.SIGTERM))
	for _, s := range c.storages {
		require.Zero(t, s.end(syscall.SIGTERM))
	}
}

func mark(t *testing.T, c *waltz.Client) txn.ID {
	t.Helper()
	hwm, err := c.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	return hwm
}

// TestStorageOfAnotherClusterIsRefused: a server whose metadata names a storage of
// another cluster says what to do, and serves with the majority that it has.
func TestStorageOfAnotherClusterIsRefused(t *testing.T) {
	c := startMembers(t, 1)
	mine, other := newMember(t, "storage", "run", "--dir", t.TempDir()), newMember(t, "storage", "run", "--dir", t.TempDir())
	mine.start()
	other.start()
	server := newMember(t, "server", "run", "--metadata", "file://"+t.TempDir(), "--create",
		"--storages", fmt.Sprintf("a=%s,b=%s,s1=%s", mine.addr, other.addr, c.storages[0].addr), "--log-level", "warn")
	said := &lines{}
	server.said = said
	server.start()
	require.Eventually(t, func() bool { return strings.Contains(said.String(), "belongs to the cluster with key") }, processGiveUp, 5*time.Millisecond)
	require.Contains(t, said.String(), "storage s1 at "+c.storages[0].addr)
	require.Contains(t, said.String(), c.key)
	require.Contains(t, said.String(), "correct the storage's address")
	require.Zero(t, server.end(syscall.SIGTERM))
}

// lines collects what a process writes.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
