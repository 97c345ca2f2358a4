package wire

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/waltz-log/waltz/internal/session"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/proto/storagepb"
)

// StorageAppended says that all appends of a partition up to number Seq are on
// the replica's disk, but for those that failed.
type StorageAppended struct {
	Partition txn.Partition
	Replica   session.Replica
	Last      txn.ID
	Seq       uint64
}

// StorageFailed is one append that was not taken.
type StorageFailed struct {
	Partition txn.Partition
	Seq       uint64
	Error     *StorageError
}

// StorageAnswers is a storage's AppendResponse, on its way out or received.
// Receiving into it again reuses it. The zero value is empty.
type StorageAnswers struct {
	Appended []StorageAppended
	Failed   []StorageFailed
	Full     *string // nil: as before; "": there is room; else why not
}

// Empty reports whether there is nothing in it.
func (a *StorageAnswers) Empty() bool {
	return len(a.Appended) == 0 && len(a.Failed) == 0 && a.Full == nil
}

// Reset empties it.
func (a *StorageAnswers) Reset() {
	clear(a.Failed)
	a.Appended, a.Failed, a.Full = a.Appended[:0], a.Failed[:0], nil
}

// MarshalWire encodes an AppendResponse.
func (a *StorageAnswers) MarshalWire() (mem.BufferSlice, error) {
	b := make([]byte, 0, 48*len(a.Appended)+256*len(a.Failed)+64)
	var tmp [64]byte
	for i := range a.Appended {
		b = appendBytes(b, 1, a.Appended[i].append(tmp[:0]))
	}
	for i := range a.Failed {
		failed, err := proto.Marshal(&storagepb.Failed{
			Partition: int32(a.Failed[i].Partition), Seq: a.Failed[i].Seq, Failure: a.Failed[i].Error.failure(),
		})
		if err != nil {
			return nil, err
		}
		b = appendBytes(b, 2, failed)
	}
	if a.Full != nil {
		full := appendBytes(nil, 1, []byte(*a.Full))
		b = protowire.AppendBytes(protowire.AppendTag(b, 3, protowire.BytesType), full)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (a *StorageAppended) append(b []byte) []byte {
	b = appendVarint(b, 1, uint64(a.Partition))
	b = appendFixed64(b, 2, uint64(a.Replica.Incarnation))
	b = appendFixed64(b, 3, uint64(a.Replica.Start))
	b = appendVarint(b, 4, protowire.EncodeZigZag(int64(a.Last)))
	return appendVarint(b, 5, a.Seq)
}

// UnmarshalWire decodes an AppendResponse.
func (a *StorageAnswers) UnmarshalWire(data mem.BufferSlice) error {
	a.Reset()
	buf := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buf.Free()
	err := fields(buf.ReadOnlyData(), func(num protowire.Number, v value) error {
		if num < 1 || num > 3 {
			return nil
		}
		b, err := v.bytes()
		if err != nil {
			return err
		}
		return a.decode(num, b)
	})
	if err != nil {
		return fmt.Errorf("decode append response of a storage: %w", err)
	}
	return nil
}

func (a *StorageAnswers) decode(num protowire.Number, b []byte) error {
	switch num {
	case 1:
		a.Appended = append(a.Appended, StorageAppended{})
		return a.Appended[len(a.Appended)-1].decode(b)
	case 2:
		var f storagepb.Failed
		if err := proto.Unmarshal(b, &f); err != nil {
			return err
		}
		a.Failed = append(a.Failed, StorageFailed{
			Partition: txn.Partition(f.GetPartition()), Seq: f.GetSeq(), Error: storageError(f.GetFailure()),
		})
	default:
		var f storagepb.Fullness
		if err := proto.Unmarshal(b, &f); err != nil {
			return err
		}
		full := f.GetMessage()
		a.Full = &full
	}
	return nil
}

func (a *StorageAppended) decode(b []byte) error {
	return fields(b, func(num protowire.Number, v value) (err error) {
		var n uint64
		switch num {
		case 1:
			n, err = v.uint64()
			a.Partition = txn.Partition(n)
		case 2:
			n, err = v.fixed64()
			a.Replica.Incarnation = session.Incarnation(n)
		case 3:
			n, err = v.fixed64()
			a.Replica.Start = session.Start(n)
		case 4:
			n, err = v.uint64()
			a.Last = txn.ID(protowire.DecodeZigZag(n))
		case 5:
			a.Seq, err = v.uint64()
		}
		return err
	})
}
