package e2e

import (
	"bufio"
	"context"
	bin "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
	"github.com/waltz-log/waltz/server"
)

// naive is a storage with as little in it as a correct one can have: all
// records in memory, each message written to one file before it is answered,
// everything under one mutex.
type naive struct {
	mu    sync.Mutex
	dir   string
	start session.Start
	dones chan func()
	parts map[txn.Partition]*naivePart
}

type naivePart struct {
	state   *session.ReplicaState
	records []record.Frame // by ID
	file    *os.File
}

// entry is one change in the file.
type naiveEntry struct {
	Incarnation session.Incarnation `json:",omitempty"`
	Promise     txn.SessionID       `json:",omitempty"`
	Install     txn.SessionID       `json:",omitempty"`
	Cut         *txn.ID             `json:",omitempty"`
	Frame       record.Frame        `json:",omitempty"`
}

func (n *naive) part(p txn.Partition) (*naivePart, error) {
	if part := n.parts[p]; part != nil {
		return part, nil
	}
	f, err := os.OpenFile(filepath.Join(n.dir, "naive-"+p.String()), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	part := &naivePart{file: f, state: session.NewReplicaState(p, session.Replica{Start: n.start})}
	in, end := bufio.NewReader(f), int64(0)
	for {
		var size uint32
		if err := bin.Read(in, bin.LittleEndian, &size); err != nil {
			break
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(in, b); err != nil {
			break
		}
		var e naiveEntry
		if err := json.Unmarshal(b, &e); err != nil {
			break
		}
		part.apply(e)
		end += int64(size) + 4
	}
	if err := f.Truncate(end); err != nil {
		return nil, err
	}
	n.parts[p] = part
	if part.state.Self.Incarnation == 0 {
		return part, part.change(naiveEntry{Incarnation: session.Incarnation(rand.Uint64())})
	}
	return part, nil
}

func (p *naivePart) change(e naiveEntry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := p.file.Write(append(bin.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)); err != nil {
		return err
	}
	p.apply(e)
	return nil
}

func (p *naivePart) apply(e naiveEntry) {
	switch {
	case e.Incarnation != 0:
		p.state.Self.Incarnation = e.Incarnation
	case e.Promise != 0:
		p.state.ApplyPromise(e.Promise)
	case e.Install != 0:
		p.state.ApplyInstall(e.Install)
	case e.Cut != nil:
		p.state.ApplyTruncate(*e.Cut)
		p.records = p.records[:*e.Cut+1]
	case e.Frame != nil:
		span, err := e.Frame.Check()
		if err != nil {
			panic(err)
		}
		p.state.ApplyRecords(e.Frame, span)
		for rest := e.Frame; len(rest) > 0; rest = rest[rest.TrustedLen():] {
			p.records = append(p.records, rest[:rest.TrustedLen()])
		}
	}
}

func (n *naive) with(p txn.Partition, do func(*naivePart) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	part, err := n.part(p)
	if err != nil {
		return err
	}
	return do(part)
}

func (n *naive) Open(_ context.Context, m session.Open) (out session.Promise, err error) {
	err = n.with(m.Partition, func(p *naivePart) error {
		write, err := p.state.CheckOpen(m)
		if err == nil && write {
			err = p.change(naiveEntry{Promise: m.Session})
		}
		out = p.state.Promise()
		return err
	})
	return out, err
}

func (n *naive) Truncate(_ context.Context, m session.Truncate) error {
	return n.with(m.Partition, func(p *naivePart) error {
		write, err := p.state.CheckTruncate(m)
		if err == nil && write {
			err = p.change(naiveEntry{Cut: &m.Last})
		}
		return err
	})
}

func (n *naive) Copy(_ context.Context, m session.Copy) error {
	return n.with(m.Partition, func(p *naivePart) error {
		span, err := m.Records.Check()
		if err != nil {
			return err
		}
		write, err := p.state.CheckCopy(&m, span)
		if err == nil && write {
			err = p.change(naiveEntry{Frame: m.Records})
		}
		return err
	})
}

func (n *naive) Install(_ context.Context, m session.Install) error {
	return n.with(m.Partition, func(p *naivePart) error {
		write, err := p.state.CheckInstall(m)
		if err == nil && write {
			err = p.change(naiveEntry{Install: m.Session})
		}
		return err
	})
}

func (n *naive) Append(_ context.Context, m session.Append, done func(session.Appended, error)) error {
	var answer session.Appended
	err := n.with(m.Partition, func(p *naivePart) error {
		span, err := m.Records.Check()
		if err != nil {
			return err
		}
		write, err := p.state.CheckAppend(&m, span)
		if err == nil && write {
			err = p.change(naiveEntry{Frame: append(record.Frame(nil), m.Records...)})
		}
		p.state.ApplyCommitted(m.Committed)
		answer = session.Appended{Replica: p.state.Self, Last: p.state.Last}
		return err
	})
	if err != nil {
		return err
	}
	n.dones <- func() { done(answer, nil) }
	return nil
}

func (n *naive) Read(_ context.Context, p txn.Partition, first, last txn.ID, bytesMax int) (out record.Frame, err error) {
	err = n.with(p, func(p *naivePart) error {
		for id := first; id <= min(last, p.state.Last); id++ {
			if len(out) > 0 && len(out)+len(p.records[id]) > bytesMax {
				break
			}
			out = append(out, p.records[id]...)
		}
		if len(out) == 0 {
			return errors.New("nothing there")
		}
		return nil
	})
	return out, err
}

func (n *naive) At(_ context.Context, p txn.Partition, t txn.Timestamp) (id txn.ID, err error) {
	err = n.with(p, func(p *naivePart) error {
		for id = 0; id <= p.state.Last; id++ {
			for r := range p.records[id].Trusted() {
				if r.Time >= t {
					return nil
				}
			}
		}
		return nil
	})
	return id, err
}

// naiveServer serves a log on the naive storage.
func naiveServer(ctx context.Context, j job) error {
	partitions := j.Calls
	meta, err := local.Open(local.Options{FS: vfs.OS{}, Dir: filepath.Join(j.Dir, "meta")})
	if err != nil {
		return err
	}
	if _, err := metadata.LoadCluster(ctx, meta); errors.Is(err, metadata.ErrNotFound) {
		err = metadata.Create(ctx, meta, metadata.Cluster{Key: "naive", Name: "naive", Partitions: partitions}, []string{"s"})
		if err != nil {
			return err
		}
	}
	dones := make(chan func(), 1<<16)
	go func() {
		for f := range dones {
			f()
		}
	}()
	s, err := server.New(server.Options{
		ClusterKey: "naive", Partitions: partitions, Metadata: meta,
		Replicas: map[string]server.Replica{"s": &naive{dones: dones, dir: j.Dir, start: session.Start(rand.Uint64()), parts: map[txn.Partition]*naivePart{}}},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	g := grpc.NewServer(s.GRPCOptions()...)
	s.Register(g)
	s.Start()
	l, err := net.Listen("tcp", j.Log)
	if err != nil {
		return err
	}
	fmt.Println("serving", j.Log)
	return g.Serve(l)
}

func TestNaiveKill9(t *testing.T) {
	s := &devServer{t: t, dir: t.TempDir(), addr: freeAddress(t), partitions: 3, naive: true}
	s.start()
	kill9(t, s, 15)
}
