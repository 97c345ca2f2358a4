package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/waltz-log/waltz/internal/txn"
)

// Limits of the format. A server's own limits are lower and configurable.
const (
	HeaderSize = 64
	DataMax    = 1 << 28 // bytes of data in one record
	LocksMax   = 1<<16 - 1
	KeyMax     = 255 // bytes of a business key
)

const flagDataLeftOut = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC-32C that every format of Waltz uses.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Record is one transaction. Locks, Key and Data of a decoded record alias the
// frame they came from.
type Record struct {
	Partition   txn.Partition
	ID          txn.ID
	Stamp       txn.SessionID
	Time        txn.Timestamp
	Request     txn.RequestID
	Header      txn.Header
	DataLen     int  // length of the data as committed, also when it was left out
	DataLeftOut bool // the feed was asked not to send the data
	locks       []byte
	Key         []byte
	Data        []byte
}

// LockCount returns how many lock hashes the record carries.
func (r *Record) LockCount() int { return len(r.locks) / 8 }

// Lock returns the i-th lock hash that the transaction took for write or append.
func (r *Record) Lock(i int) txn.LockHash {
	return txn.LockHash(binary.LittleEndian.Uint64(r.locks[i*8:]))
}

// CorruptError reports bytes that are not what was written.
type CorruptError struct {
	Offset int64  // of the damaged record in what was read
	Reason string // what did not fit
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt record at offset %d: %s", e.Offset, e.Reason)
}

// IsCorrupt reports whether err is or wraps a [*CorruptError].
func IsCorrupt(err error) bool {
	var c *CorruptError
	return errors.As(err, &c)
}

// Size returns how many bytes a record takes with that many locks that mark,
// key bytes and data bytes.
func Size(locks, key, data int) int { return HeaderSize + 8*locks + key + data }

// Append encodes a record behind dst: rec's fields with the given locks (only
// those whose mode marks are stored). rec's DataLen and DataLeftOut are ignored.
// The caller has checked the limits; Append panics beyond those of the format,
// rather than write what nobody can read.
func Append(dst []byte, rec *Record, locks []txn.Lock) []byte {
	marks := 0
	for _, l := range locks {
		if l.Mode.Marks() {
			marks++
		}
	}
	if marks > LocksMax || len(rec.Key) > KeyMax || len(rec.Data) > DataMax {
		panic(fmt.Sprintf("record: %d locks, %d bytes of key and %d of data exceed the format", marks, len(rec.Key), len(rec.Data)))
	}
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	for _, l := range locks {
		if l.Mode.Marks() {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(l.Hash))
		}
	}
	dst = append(dst, rec.Key...)
	dst = append(dst, rec.Data...)
	b := dst[start:]
	putHeader(b, rec, len(rec.Data), marks, len(rec.Key), 0)
	return dst
}

func putHeader(b []byte, rec *Record, dataLen, locks, key int, flags byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(len(b)))
	le.PutUint32(b[8:], uint32(rec.Partition))
	le.PutUint32(b[12:], uint32(rec.Header))
	le.PutUint64(b[16:], uint64(rec.ID))
	le.PutUint64(b[24:], uint64(rec.Stamp))
	le.PutUint64(b[32:], uint64(rec.Time))
	copy(b[40:], rec.Request[:])
	le.PutUint32(b[56:], uint32(dataLen))
	le.PutUint16(b[60:], uint16(locks))
	b[62] = byte(key)
	b[63] = flags
	le.PutUint32(b[4:], Checksum(b[8:]))
}

// AppendWithoutData encodes r behind dst as a feed sends it to a subscriber
// that did not ask for its data: locks and data left out, key kept.
func AppendWithoutData(dst []byte, r *Record) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, HeaderSize)...)
	dst = append(dst, r.Key...)
	putHeader(dst[start:], r, r.DataLen, 0, len(r.Key), flagDataLeftOut)
	return dst
}

// Decode reads the record at the start of b and returns its size. The record
// aliases b. Errors are [*CorruptError] with offset 0.
func Decode(b []byte) (r Record, size int, err error) {
	size, err = check(b)
	if err != nil {
		return Record{}, 0, err
	}
	return view(b[:size]), size, nil
}

func corrupt(format string, args ...any) error {
	return &CorruptError{Reason: fmt.Sprintf(format, args...)}
}

// check verifies lengths and checksum of the record at the start of b.
func check(b []byte) (int, error) {
	if len(b) < HeaderSize {
		return 0, corrupt("%d bytes are too few for a record", len(b))
	}
	le := binary.LittleEndian
	n := le.Uint32(b)
	if n < HeaderSize || uint64(n) > uint64(len(b)) {
		return 0, corrupt("length %d does not fit into the %d bytes at hand", n, len(b))
	}
	if got, want := Checksum(b[8:n]), le.Uint32(b[4:]); got != want {
		return 0, corrupt("checksum is %08x, the record says %08x", got, want)
	}
	data := uint64(le.Uint32(b[56:]))
	if b[63]&flagDataLeftOut != 0 {
		if le.Uint16(b[60:]) != 0 {
			return 0, corrupt("locks without data")
		}
		data = 0
	}
	if want := HeaderSize + 8*uint64(le.Uint16(b[60:])) + uint64(b[62]) + data; want != uint64(n) {
		return 0, corrupt("length is %d, its parts add up to %d", n, want)
	}
	if b[63]&^flagDataLeftOut != 0 {
		return 0, corrupt("unknown flags %08b", b[63])
	}
	return int(n), nil
}

// view interprets a whole record that has been checked.
func view(b []byte) Record {
	le := binary.LittleEndian
	r := Record{
		Partition: txn.Partition(le.Uint32(b[8:])),
		Header:    txn.Header(le.Uint32(b[12:])),
		ID:        txn.ID(le.Uint64(b[16:])),
		Stamp:     txn.SessionID(le.Uint64(b[24:])),
		Time:      txn.Timestamp(le.Uint64(b[32:])),
		Request:   txn.RequestID(b[40:56]),
		DataLen:   int(le.Uint32(b[56:])),
	}
	locksEnd := HeaderSize + 8*int(le.Uint16(b[60:]))
	keyEnd := locksEnd + int(b[62])
	r.locks, r.Key, r.Data = b[HeaderSize:locksEnd:locksEnd], b[locksEnd:keyEnd:keyEnd], b[keyEnd:len(b):len(b)]
	r.DataLeftOut = b[63]&flagDataLeftOut != 0
	return r
}
