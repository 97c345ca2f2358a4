package embedded_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/waltz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a node in memory that takes little of it.
func small(o embedded.Options) embedded.Options {
	o.Dir = "/log"
	o.Storage.JournalFileBytes, o.Storage.SegmentBytes, o.Storage.FlushBytes = 64<<10, 64<<10, 8<<10
	return o
}

func open(t *testing.T, o embedded.Options) *embedded.Waltz {
	t.Helper()
	w, err := embedded.Open(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close(context.Background())) })
	return w
}

// raw connects to a node by bare gRPC.
func raw(t *testing.T, dial func(context.Context, string) (net.Conn, error)) clientpb.WaltzClient {
	t.Helper()
	c, err := grpc.NewClient("passthrough:///node", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(dial))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return clientpb.NewWaltzClient(c)
}

// appendRaw appends count transactions to a partition and returns the last ID.
func appendRaw(t *testing.T, c clientpb.WaltzClient, p int32, count int) int64 {
	t.Helper()
	stream, err := c.Append(t.Context())
	require.NoError(t, err)
	group, sent := &clientpb.AppendRequest{}, mark(t, c, p)
	for i := range count {
		group.Transactions = append(group.Transactions, &clientpb.Transaction{
			Partition: p, RequestIdHi: uint64(time.Now().UnixNano()), RequestIdLo: uint64(i),
			ClientHighWaterMark: -1, SentHighWaterMark: sent, Data: fmt.Appendf(nil, "transaction %d", i),
		})
	}
	require.NoError(t, stream.Send(group))
	last := int64(-1)
	for done := 0; done < count; {
		answer, err := stream.Recv()
		require.NoError(t, err)
		require.Empty(t, answer.GetRefused())
		for _, committed := range answer.GetCommitted() {
			done += int(committed.GetCount())
			last = max(last, committed.GetFirstId()+int64(committed.GetCount())-1)
		}
	}
	require.NoError(t, stream.CloseSend())
	_, _ = stream.Recv()
	return last
}

func mark(t *testing.T, c clientpb.WaltzClient, p int32) int64 {
	t.Helper()
	answer, err := c.HighWaterMark(t.Context(), &clientpb.HighWaterMarkRequest{Partition: p})
	require.NoError(t, err)
	return answer.GetHighWaterMark()
}

func TestAppendReopenAppend(t *testing.T) {
	for name, o := range map[string]embedded.Options{
		"fs=os": {Dir: path.Join(t.TempDir(), "a", "log")}, "fs=mem": small(embedded.Options{FS: vfs.NewMem()}),
	} {
		t.Run(name, func(t *testing.T) {
			var key string
			for round := range int64(3) {
				w := open(t, o)
				if round > 0 {
					require.Equal(t, key, w.Cluster().Key)
				}
				key = w.Cluster().Key
				c := raw(t, w.Dial)
				require.Equal(t, round*5-1, mark(t, c, 0))
				require.Equal(t, round*5+4, appendRaw(t, c, 0, 5))
				require.Nil(t, w.Addr())
				require.NoError(t, w.Close(t.Context()))
				require.ErrorIs(t, w.Err(), embedded.ErrClosed)
				<-w.Done()
			}
		})
	}
}

func TestServesOtherProcessesToo(t *testing.T) {
	w := open(t, small(embedded.Options{FS: vfs.NewMem(), Listen: "127.0.0.1:0", Partitions: 3}))
	require.NotNil(t, w.Addr())
	overTCP := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", w.Addr().String())
	}
	require.Equal(t, int64(1), appendRaw(t, raw(t, overTCP), 2, 2))
	require.Equal(t, int64(1), mark(t, raw(t, w.Dial), 2))
	answer, err := raw(t, overTCP).Describe(t.Context(), &clientpb.DescribeRequest{})
	require.NoError(t, err)
	require.Equal(t, w.Cluster().Key, answer.GetClusterKey())
	require.Equal(t, int32(3), answer.GetPartitions())
}

func TestSecondOpenerIsToldWhichFolderIsTaken(t *testing.T) {
	for name, o := range map[string]embedded.Options{
		"fs=os": {Dir: t.TempDir()}, "fs=mem": small(embedded.Options{FS: vfs.NewMem()}),
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, o)
			_, err := embedded.Open(t.Context(), o)
			var locked *embedded.LockedError
			require.ErrorAs(t, err, &locked)
			require.Equal(t, o.Dir, locked.Dir)
			require.Equal(t, int64(0), appendRaw(t, raw(t, w.Dial), 0, 1))
		})
	}
}

func TestPartitionCountNeverChanges(t *testing.T) {
	o := small(embedded.Options{FS: vfs.NewMem(), Partitions: 4})
	require.NoError(t, open(t, o).Close(t.Context()))
	o.Partitions = 5
	_, err := embedded.Open(t.Context(), o)
	var other *embedded.PartitionsError
	require.ErrorAs(t, err, &other)
	require.Equal(t, embedded.PartitionsError{Dir: "/log", Have: 4, Asked: 5}, *other)
	o.Partitions = 0
	require.Equal(t, 4, open(t, o).Cluster().Partitions)
}

func TestModes(t *testing.T) {
	o := small(embedded.Options{FS: vfs.NewMem(), Mode: embedded.OpenExisting})
	_, err := embedded.Open(t.Context(), o)
	var none *embedded.NoLogError
	require.ErrorAs(t, err, &none)
	names, err := o.FS.List("/")
	require.NoError(t, err)
	require.Empty(t, names, "a failed look leaves nothing behind")

	o.Mode = embedded.CreateNew
	require.NoError(t, open(t, o).Close(t.Context()))
	_, err = embedded.Open(t.Context(), o)
	var exists *embedded.LogExistsError
	require.ErrorAs(t, err, &exists)

	o.Mode = embedded.OpenExisting
	open(t, o)
}

func TestOptionsReportAllMistakes(t *testing.T) {
	_, err := embedded.Open(t.Context(), embedded.Options{Partitions: -1, Mode: 9, ReadyMax: -1})
	for _, part := range []string{"folder", "-1 partitions", "mode 9", "ReadyMax"} {
		require.ErrorContains(t, err, part)
	}
}

func TestFailedOpenGivesTheFolderBack(t *testing.T) {
	o := small(embedded.Options{FS: vfs.NewMem(), Listen: "256.0.0.1:x"})
	_, err := embedded.Open(t.Context(), o)
	require.ErrorContains(t, err, "256.0.0.1:x")
	o.Listen = ""
	open(t, o)
}

// An address that is taken is found out before there is a log that nobody wanted.
func TestTakenAddressCreatesNothing(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	o := small(embedded.Options{FS: vfs.NewMem(), Listen: l.Addr().String(), Partitions: 3})
	_, err = embedded.Open(t.Context(), o)
	require.ErrorContains(t, err, "in use")
	names, err := o.FS.List("/")
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestSchemeOpensAFolder(t *testing.T) {
	address := "file://" + path.Join(t.TempDir(), "log")
	c, err := waltz.Dial(t.Context(), address+"?partitions=2", waltz.WithSchemes(embedded.Scheme))
	require.NoError(t, err)
	require.Equal(t, 2, c.Partitions())
	id, err := c.Append(t.Context(), 1, waltz.Transaction{Data: []byte("x"), HighWaterMark: waltz.None})
	require.NoError(t, err)
	require.Equal(t, waltz.ID(0), id)
	require.NoError(t, c.Close())

	c, err = waltz.Dial(t.Context(), address, waltz.WithSchemes(embedded.Scheme))
	require.NoError(t, err)
	require.Equal(t, 2, c.Partitions())
	require.NoError(t, c.Close())
}

func TestSchemeWithLogger(t *testing.T) {
	var lines bytes.Buffer
	scheme := embedded.NewScheme(embedded.Options{Logger: slog.New(slog.NewTextHandler(&lines, nil)), Partitions: 7})
	c, err := waltz.Dial(t.Context(), "file://"+t.TempDir()+"?partitions=2", waltz.WithSchemes(scheme))
	require.NoError(t, err)
	require.Equal(t, 2, c.Partitions(), "the address decides")
	require.NoError(t, c.Close())
	require.Contains(t, lines.String(), "log created")
}

func TestSchemeRefusesWhatIsNoFolder(t *testing.T) {
	for address, want := range map[string]string{
		"file://data/log":               "file:///data/log",
		"file:/data/log":                "write file:///data/log",
		"file:data/log":                 "write file:///data/log",
		"file:///":                      "absolute folder",
		"file:///log?partition=4":       "partitions=N",
		"file:///log?partitions=0":      "partitions=N",
		"file:///log?partitions=65537":  "from 1 to 65536",
		"file:///log?partitions=1&x=2":  "partitions=N",
		"file:///log#part":              "fragment",
		"file://user@localhost/tmp/log": "user",
	} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		_, err = embedded.Scheme.Open(t.Context(), u)
		require.ErrorContains(t, err, want, address)
		require.ErrorIs(t, err, waltz.ErrAddress)
	}
}

// What was taken from the operating system is given back once, also by a failed Open.
func TestFailedOpenClosesOnce(t *testing.T) {
	o := embedded.Options{Dir: t.TempDir()}
	require.NoError(t, open(t, o).Close(t.Context()))
	require.NoError(t, os.RemoveAll(filepath.Join(o.Dir, "storage")))
	_, err := embedded.Open(t.Context(), o)
	require.ErrorContains(t, err, "removed or rolled back")
	require.NotErrorIs(t, err, os.ErrClosed)
}
