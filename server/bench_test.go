package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
	"github.com/waltz-log/waltz/proto/clientpb"
	"github.com/waltz-log/waltz/server/internal/partition"
)

// BenchmarkAppend: 512 bytes and one write lock each, N in flight, over loopback
// TCP, with a log that writes each group of frames and calls fdatasync once. The
// client is as bare as can be: it sends as many as were answered, in messages
// of at most 32 KiB. cpu-us/tx is the whole process, client included.
func BenchmarkAppend(b *testing.B) {
	for _, inFlight := range []int{1, 64, 256, 1024} {
		b.Run(fmt.Sprintf("inflight=%d", inFlight), func(b *testing.B) { benchmarkAppend(b, inFlight) })
	}
}

// BenchmarkFdatasync is what a durable append can't be faster than.
func BenchmarkFdatasync(b *testing.B) {
	d := newDisk(b)
	frame := make(record.Frame, 600)
	for b.Loop() {
		d.sync([]record.Frame{frame})
	}
}

func benchmarkAppend(b *testing.B, inFlight int) {
	d := newDisk(b)
	s, err := New(Options{ClusterKey: "key", Partitions: 1, open: func(_ context.Context, _ txn.Partition, committed func(txn.ID)) (partition.Session, error) {
		return newDiskSession(d, committed), nil
	}})
	require.NoError(b, err)
	client, stop := serveTCP(b, s)
	defer stop()
	stream, err := client.Append(context.Background())
	require.NoError(b, err)
	p := &pump{stream: stream, data: make([]byte, 512)}
	require.NoError(b, p.run(inFlight, 20*inFlight)) // warm up
	before, cpu, syncs := time.Now(), cpuTime(), d.syncs
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, p.run(inFlight, b.N))
	b.StopTimer()
	took := time.Since(before)
	b.ReportMetric(float64(b.N)/took.Seconds(), "tx/s")
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1e3/float64(b.N), "cpu-us/tx")
	b.ReportMetric(float64(d.syncs-syncs)/took.Seconds(), "syncs/s")
}

// BenchmarkSubscribe: one subscriber replays a log of 200-byte transactions over
// loopback TCP, from a log in memory. The client looks at nothing but the marks.
func BenchmarkSubscribe(b *testing.B) {
	const records, dataBytes = 300_000, 200
	log := &memorySession{size: record.Size(0, 0, dataBytes), high: records - 1}
	for id := range txn.ID(records) {
		var request txn.RequestID
		binary.LittleEndian.PutUint64(request[8:], uint64(id+1)*0x9E3779B97F4A7C15)
		log.frame = record.Append(log.frame, &record.Record{ID: id, Request: request, Header: txn.Header(id % 10), Data: make([]byte, dataBytes)}, nil)
	}
	s, err := New(Options{ClusterKey: "key", Partitions: 1, open: func(_ context.Context, _ txn.Partition, told func(txn.ID)) (partition.Session, error) {
		log.diskSession = newDiskSession(nil, told)
		return log, nil
	}})
	require.NoError(b, err)
	client, stop := serveTCP(b, s)
	defer stop()
	for name, r := range map[string]*clientpb.SubscribeRequest{
		"all": {HighWaterMark: -1}, "none": {HighWaterMark: -1, Data: clientpb.DataMode_DATA_MODE_NONE},
		"filtered": {HighWaterMark: -1, Data: clientpb.DataMode_DATA_MODE_FILTERED, Headers: []int32{3, 4}},
	} {
		b.Run("data="+name, func(b *testing.B) {
			cpu := cpuTime()
			for b.Loop() {
				require.NoError(b, replay(client, r, records-1))
			}
			n := float64(b.N) * records
			b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1e3/n, "cpu-us/record")
		})
	}
}

func replay(client clientpb.WaltzClient, r *clientpb.SubscribeRequest, last int64) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	feed, err := client.Subscribe(ctx, r)
	if err != nil {
		return err
	}
	for {
		m, err := feed.Recv()
		if err != nil {
			return err
		}
		if m.GetHighWaterMark() == last {
			return nil
		}
	}
}

// memorySession is a log in memory, of records of one size.
type memorySession struct {
	*diskSession
	frame record.Frame
	size  int
	high  txn.ID
}

func (s *memorySession) High() txn.ID { return s.high }

func (s *memorySession) Read(_ context.Context, first, last txn.ID, bytesMax int) (record.Frame, error) {
	n := min(int(last-first)+1, max(1, bytesMax/s.size))
	return append(record.Frame(nil), s.frame[int(first)*s.size:(int(first)+n)*s.size]...), nil // a read copies
}

func serveTCP(b *testing.B, s *Server) (clientpb.WaltzClient, func()) {
	s.Start()
	require.NoError(b, s.Ready(context.Background()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	g := grpc.NewServer(s.GRPCOptions()...)
	s.Register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(l) })
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(wire.Codec())), grpc.WithReadBufferSize(socketBuffer), grpc.WithWriteBufferSize(socketBuffer))
	require.NoError(b, err)
	return clientpb.NewWaltzClient(conn), func() {
		_ = conn.Close()
		_ = s.Stop(context.Background())
		g.Stop()
		serving.Wait()
	}
}

// pump keeps a number of transactions in flight on one stream.
type pump struct {
	stream grpc.BidiStreamingClient[clientpb.AppendRequest, clientpb.AppendResponse]
	data   []byte
	seq    uint64
	last   int64
}

// raw is a message that is encoded already.
type raw []byte

// MarshalWire implements wire.Marshaler.
func (r raw) MarshalWire() (mem.BufferSlice, error) { return mem.BufferSlice{mem.SliceBuffer(r)}, nil }

func (p *pump) run(inFlight, n int) error {
	p.last = -1
	for sent, answered, free := 0, 0, inFlight; answered < n; {
		if k := min(free, n-sent, 50); k > 0 {
			if err := p.stream.SendMsg(p.group(k)); err != nil {
				return err
			}
			sent, free = sent+k, free-k
			continue
		}
		m, err := p.stream.Recv()
		if err != nil {
			return err
		}
		if len(m.GetRefused()) > 0 {
			return fmt.Errorf("refused: %v", m.GetRefused())
		}
		for _, c := range m.GetCommitted() {
			answered, free = answered+int(c.GetCount()), free+int(c.GetCount())
			p.last = c.GetFirstId() + int64(c.GetCount()) - 1
		}
	}
	return nil
}

func (p *pump) group(n int) raw {
	b := make([]byte, 0, n*600)
	b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), p.seq)
	var tx []byte
	for range n {
		p.seq++
		tx = protowire.AppendFixed64(protowire.AppendTag(tx[:0], 2, protowire.Fixed64Type), 1)
		tx = protowire.AppendFixed64(protowire.AppendTag(tx, 3, protowire.Fixed64Type), p.seq*0x9E3779B97F4A7C15)
		tx = protowire.AppendVarint(protowire.AppendTag(tx, 4, protowire.VarintType), protowire.EncodeZigZag(p.last))
		tx = protowire.AppendVarint(protowire.AppendTag(tx, 5, protowire.VarintType), protowire.EncodeZigZag(p.last))
		tx = protowire.AppendBytes(protowire.AppendTag(tx, 8, protowire.BytesType), binary.LittleEndian.AppendUint64(nil, p.seq*0x9E3779B97F4A7C15))
		tx = protowire.AppendBytes(protowire.AppendTag(tx, 12, protowire.BytesType), p.data)
		b = protowire.AppendBytes(protowire.AppendTag(b, 2, protowire.BytesType), tx)
	}
	return b
}

// disk is a zero-filled file that is written in a circle.
type disk struct {
	file  *os.File
	off   int64
	syncs int
	buf   []byte
}

const diskBytes = 64 << 20

func newDisk(b *testing.B) *disk {
	f, err := os.Create(filepath.Join(b.TempDir(), "disk"))
	require.NoError(b, err)
	b.Cleanup(func() { _ = f.Close() })
	for off := int64(0); off < diskBytes; off += 1 << 20 {
		_, err = f.WriteAt(make([]byte, 1<<20), off)
		require.NoError(b, err)
	}
	require.NoError(b, f.Sync())
	return &disk{file: f}
}

func (d *disk) sync(group []record.Frame) {
	d.buf = d.buf[:0]
	for _, f := range group {
		d.buf = append(d.buf, f...)
	}
	if d.off+int64(len(d.buf)) > diskBytes {
		d.off = 0
	}
	if _, err := d.file.WriteAt(d.buf, d.off); err != nil {
		panic(err)
	}
	d.off += int64(len(d.buf)+4095) &^ 4095
	if err := unix.Fdatasync(int(d.file.Fd())); err != nil {
		panic(err)
	}
	d.syncs++
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// diskSession is a store session whose log is a disk that nobody reads.
type diskSession struct {
	disk *disk
	told func(txn.ID)
	done chan struct{}
	quit sync.WaitGroup

	mu     sync.Mutex
	queue  []record.Frame
	last   txn.ID
	closed bool
	kick   chan struct{}
}

func newDiskSession(d *disk, told func(txn.ID)) *diskSession {
	s := &diskSession{disk: d, told: told, done: make(chan struct{}), kick: make(chan struct{}, 1)}
	s.quit.Go(s.run)
	return s
}

func (s *diskSession) run() {
	var group []record.Frame
	for {
		select {
		case <-s.kick:
		case <-s.done:
			return
		}
		s.mu.Lock()
		group, s.queue = s.queue, group[:0]
		last := s.last
		s.mu.Unlock()
		s.disk.sync(group)
		s.told(last)
	}
}

func (s *diskSession) Append(_ context.Context, f record.Frame, last txn.ID) error {
	s.mu.Lock()
	s.queue, s.last = append(s.queue, f), last
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
	return nil
}

func (s *diskSession) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	return nil
}

func (s *diskSession) Confirm(context.Context) error { return nil }
func (s *diskSession) ID() txn.SessionID             { return 1 }
func (s *diskSession) High() txn.ID                  { return txn.None }
func (s *diskSession) HighStamp() txn.SessionID      { return 0 }
func (s *diskSession) HighTime() txn.Timestamp       { return 0 }
func (s *diskSession) Stalled() error                { return nil }
func (s *diskSession) Stalls() <-chan struct{}       { return nil }
func (s *diskSession) Done() <-chan struct{}         { return s.done }
func (s *diskSession) Err() error                    { return nil }
func (s *diskSession) Read(context.Context, txn.ID, txn.ID, int) (record.Frame, error) {
	return nil, os.ErrInvalid
}
func (s *diskSession) At(context.Context, txn.Timestamp) (txn.ID, error) { return 0, os.ErrInvalid }
