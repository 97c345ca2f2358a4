package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// devServer is `waltz dev` on a folder and an address of its own.
type devServer struct {
	t          testing.TB
	binary     string
	dir        string
	addr       string
	partitions int
	process    *process
	starts     int
}

func newServer(t testing.TB, partitions int) *devServer {
	t.Helper()
	s := unstarted(t, partitions, command)
	s.start()
	return s
}

// unstarted also chooses how the command is built.
func unstarted(t testing.TB, partitions int, build func(testing.TB, string) string) *devServer {
	t.Helper()
	return &devServer{
		t: t, binary: build(t, "./cmd/waltz"), dir: filepath.Join(t.TempDir(), "log"),
		addr: freeAddress(t), partitions: partitions,
	}
}

// start returns when the server says that it is ready.
func (s *devServer) start() {
	s.t.Helper()
	s.launch()
	s.ready()
}

// launch does not wait for that.
func (s *devServer) launch() {
	s.t.Helper()
	s.starts++
	argv := s.command()
	s.process = start(s.t, fmt.Sprintf("waltz dev, start %d", s.starts), nil, argv[0], argv[1:]...)
}

// command is what runs the server.
func (s *devServer) command() []string {
	return []string{s.binary, "dev", "--dir", s.dir, "--listen", s.addr, "--partitions", strconv.Itoa(s.partitions)}
}

func (s *devServer) ready() {
	s.t.Helper()
	address := regexp.MustCompile(regexp.QuoteMeta(s.addr))
	s.process.line(s.t, "the line that tells the address", func(line string) (string, bool) {
		return line, address.MatchString(line)
	})
}

// kill is SIGKILL.
func (s *devServer) kill() { s.process.kill() }

func (s *devServer) url() string { return "waltz://" + s.addr }

// client dials the server for the test itself.
func (s *devServer) client(opts ...waltz.Option) *waltz.Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	c, err := waltz.Dial(ctx, s.url(), opts...)
	require.NoError(s.t, err)
	return c
}

// logs reads every partition from the start to its high-water mark.
func (s *devServer) logs() map[waltz.Partition][]history.Entry {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience())
	defer cancel()
	c := s.client()
	defer func() { require.NoError(s.t, c.Close()) }()
	out := make(map[waltz.Partition][]history.Entry)
	for i := range c.Partitions() {
		p := waltz.Partition(i)
		mark, err := c.HighWaterMark(ctx, p)
		require.NoError(s.t, err)
		out[p] = []history.Entry{}
		for tx, err := range c.Read(ctx, p, 0, mark) {
			require.NoError(s.t, err)
			out[p] = append(out[p], entryOf(&tx))
		}
		require.Len(s.t, out[p], int(mark)+1)
	}
	return out
}

// recordings reads what workers wrote into one history.
func recordings(t testing.TB, jobs ...job) *history.History {
	t.Helper()
	var h history.History
	for _, j := range jobs {
		f, err := os.Open(j.Record)
		require.NoError(t, err)
		require.NoError(t, h.Add(f), j.Name)
		require.NoError(t, f.Close())
	}
	return &h
}
