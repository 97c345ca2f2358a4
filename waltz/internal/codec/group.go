package codec

import (
	"encoding/binary"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/waltz-log/waltz/internal/txn"
)

// Tags of AppendRequest and Transaction, as proto/clientpb/client.proto
// numbers the fields.
const (
	tagFirstSeq     = 1<<3 | byte(protowire.VarintType)
	tagTransactions = 2<<3 | byte(protowire.BytesType)
	tagClusterKey   = 3<<3 | byte(protowire.BytesType)

	tagPartition = 1<<3 | byte(protowire.VarintType)
	tagRequestHi = 2<<3 | byte(protowire.Fixed64Type)
	tagRequestLo = 3<<3 | byte(protowire.Fixed64Type)
	tagClientHWM = 4<<3 | byte(protowire.VarintType)
	tagSentHWM   = 5<<3 | byte(protowire.VarintType)
	tagResend    = 6<<3 | byte(protowire.VarintType)
	tagHeader    = 7<<3 | byte(protowire.VarintType)
	tagKey       = 11<<3 | byte(protowire.BytesType)
	tagData      = 12<<3 | byte(protowire.BytesType)
)

var tagLocks = [...]byte{
	txn.LockWrite:  8<<3 | byte(protowire.BytesType),
	txn.LockRead:   9<<3 | byte(protowire.BytesType),
	txn.LockAppend: 10<<3 | byte(protowire.BytesType),
}

// Transaction is what a body is encoded from.
type Transaction struct {
	Partition txn.Partition
	Request   txn.RequestID
	ClientHWM txn.ID
	Header    txn.Header
	Locks     []txn.Lock
	Key       string
	Data      []byte
}

// AppendBody encodes a transaction behind dst, but for what Group.Add adds.
func AppendBody(dst []byte, t *Transaction) []byte {
	dst = protowire.AppendVarint(append(dst, tagPartition), uint64(t.Partition))
	dst = append(dst, tagRequestHi)
	dst = binary.LittleEndian.AppendUint64(dst, binary.BigEndian.Uint64(t.Request[:8]))
	dst = append(dst, tagRequestLo)
	dst = binary.LittleEndian.AppendUint64(dst, binary.BigEndian.Uint64(t.Request[8:]))
	dst = protowire.AppendVarint(append(dst, tagClientHWM), protowire.EncodeZigZag(int64(t.ClientHWM)))
	dst = protowire.AppendVarint(append(dst, tagHeader), protowire.EncodeZigZag(int64(t.Header)))
	for mode := txn.LockRead; mode <= txn.LockAppend; mode++ {
		dst = appendLocks(dst, t.Locks, mode)
	}
	if t.Key != "" {
		dst = protowire.AppendString(append(dst, tagKey), t.Key)
	}
	return protowire.AppendBytes(append(dst, tagData), t.Data)
}

func appendLocks(dst []byte, locks []txn.Lock, mode txn.LockMode) []byte {
	n := 0
	for _, l := range locks {
		if l.Mode == mode {
			n++
		}
	}
	if n == 0 {
		return dst
	}
	dst = protowire.AppendVarint(append(dst, tagLocks[mode]), uint64(8*n))
	for _, l := range locks {
		if l.Mode == mode {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(l.Hash))
		}
	}
	return dst
}

// BodySize bounds the length of an encoded body with its framing.
func BodySize(locks int, key string, data []byte) int {
	return 80 + 8*locks + len(key) + len(data)
}

// ChangeRequest overwrites the request ID in a body. Only a planted bug does it.
func ChangeRequest(body []byte, id txn.RequestID) {
	_, n := protowire.ConsumeVarint(body[1:])
	at := 1 + n + 1
	binary.LittleEndian.PutUint64(body[at:], binary.BigEndian.Uint64(id[:8]))
	binary.LittleEndian.PutUint64(body[at+9:], binary.BigEndian.Uint64(id[8:]))
}

// Group is one AppendRequest under construction. Sending it hands its buffer to
// gRPC; begin the next one with Begin.
type Group struct {
	Pool *Pool
	buf  *[]byte
}

// Begin starts a message of about that many bytes. clusterKey is for the first
// message of a stream.
func (g *Group) Begin(size int, firstSeq uint64, clusterKey string) {
	g.buf = g.Pool.Get(size + 32 + len(clusterKey))
	b := protowire.AppendVarint(append((*g.buf)[:0], tagFirstSeq), firstSeq)
	if clusterKey != "" {
		b = protowire.AppendString(append(b, tagClusterKey), clusterKey)
	}
	*g.buf = b
}

// Framing bounds what a message has for a transaction besides its body.
const Framing = 6 + 11 + 2

// Add copies a body into the message, with what may differ from one sending to
// the next: the ID that it can only be committed above, and whether an answer was
// lost.
func (g *Group) Add(body []byte, sentHWM txn.ID, resend bool) {
	mark := protowire.EncodeZigZag(int64(sentHWM))
	size := len(body) + 1 + protowire.SizeVarint(mark)
	if resend {
		size += 2
	}
	b := protowire.AppendVarint(append(*g.buf, tagTransactions), uint64(size))
	b = append(b, body...)
	b = protowire.AppendVarint(append(b, tagSentHWM), mark)
	if resend {
		b = append(b, tagResend, 1)
	}
	*g.buf = b
}

// take hands the buffer over; grpc returns it to the pool when it is written.
func (g *Group) take() mem.BufferSlice {
	buf := g.buf
	g.buf = nil
	return mem.BufferSlice{mem.NewBuffer(buf, g.Pool)}
}
