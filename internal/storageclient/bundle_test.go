package storageclient_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/memnet"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	cluster = "the-cluster"
	name    = "s1"
	giveUp  = 30 * time.Second
)

// process is a storage process on a file system that outlives it.
type process struct {
	t    *testing.T
	fs   vfs.FS
	net  *memnet.Listener
	host *storage.Host
	grpc *grpc.Server
	done chan error
}

// start runs a storage process; the test's end stops it.
func start(t *testing.T, fs vfs.FS, change func(*storage.HostOptions)) *process {
	t.Helper()
	o := storage.HostOptions{Name: name, Storage: storage.Options{FS: fs, Dir: "/storage", JournalFileBytes: 1 << 20}}
	if change != nil {
		change(&o)
	}
	h, err := storage.NewHost(t.Context(), o)
	require.NoError(t, err)
	p := &process{t: t, fs: fs, net: memnet.Listen("storage"), host: h, grpc: grpc.NewServer(h.GRPCOptions()...), done: make(chan error, 1)}
	h.Register(p.grpc)
	go func() { p.done <- p.grpc.Serve(p.net) }()
	t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	if p.done == nil {
		return
	}
	require.NoError(p.t, p.host.Stop())
	p.grpc.Stop()
	require.NoError(p.t, <-p.done)
	p.done = nil
}

func (p *process) dial(ctx context.Context, _ string) (net.Conn, error) { return p.net.Dial(ctx) }

func client(t *testing.T, p *process, change func(*storageclient.Options)) *storageclient.Client {
	t.Helper()
	o := storageclient.Options{Address: "storage:1", ClusterKey: cluster, Name: name, CreateReplicas: true, Dial: p.dial}
	if change != nil {
		change(&o)
	}
	c, err := storageclient.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

// log appends to one partition as a store session does.
type log struct {
	t         *testing.T
	c         *storageclient.Client
	partition txn.Partition
	session   txn.SessionID
	self      session.Replica
	last      txn.ID
	stamp     txn.SessionID
}

// open opens a session on a replica.
func open(t *testing.T, c *storageclient.Client, p txn.Partition, s txn.SessionID) *log {
	t.Helper()
	promise, err := c.Open(t.Context(), session.Open{Partition: p, Session: s})
	require.NoError(t, err)
	require.NoError(t, c.Install(t.Context(), session.Install{Partition: p, Session: s, Replica: promise.Replica, Last: promise.Last}))
	l := &log{t: t, c: c, partition: p, session: s, self: promise.Replica, last: promise.Last}
	if n := len(promise.Map); n > 0 {
		l.stamp = promise.Map[n-1].Stamp
	}
	return l
}

// message makes the next append of n records.
func (l *log) message(n, size int) session.Append {
	m := session.Append{Partition: l.partition, Session: l.session, Replica: l.self, PrevID: l.last, PrevStamp: l.stamp, Committed: l.last}
	for range n {
		l.last++
		m.Records = record.Append(m.Records, &record.Record{Partition: l.partition, ID: l.last, Stamp: l.session, Data: make([]byte, size)}, nil)
	}
	l.stamp = l.session
	return m
}

// answers collects what comes back.
type answer struct {
	session.Appended
	err error
}

type answers chan answer

func newAnswers() answers { return make(answers, 10_000) }

func (a answers) done(got session.Appended, err error) { a <- answer{got, err} }

func (a answers) next(t *testing.T) answer {
	t.Helper()
	select {
	case got := <-a:
		return got
	case <-time.After(giveUp):
		require.FailNow(t, "no answer")
		return answer{}
	}
}
