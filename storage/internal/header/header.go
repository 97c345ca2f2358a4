// Package header is how every file of a storage begins: what it is, in which
// format, of which cluster. The layout of this block never changes, so that any
// version can tell that a file is too new for it.
//
//	offset size
//	     0    8  magic: which kind of file
//	     8    4  format version
//	    12    4  CRC-32C of the whole block with zeros in this place
//	    16    8  number: of the journal file, or first ID of the segment
//	    24    4  partition, 0 if it is none's
//	    28    2  length of the cluster key
//	    30    2  zero
//	    32   64  cluster key
//	    96    .  zero, up to the length of the block
package header

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
)

const (
	// Size is the least length of a header block.
	Size = 128
	// Version is the format that this code writes, and the newest that it reads.
	Version = 1
	// ClusterMax is the greatest length of a cluster key in bytes.
	ClusterMax = 64
	magicSize  = 8
)

var (
	// ErrOtherCluster: the file was written by a storage of another cluster.
	ErrOtherCluster = errors.New("data belongs to another cluster")
	// ErrNewerFormat: the file was written by a newer Waltz.
	ErrNewerFormat = errors.New("data has a newer format than this version of Waltz knows")
	// ErrDamaged: the block is not what was written.
	ErrDamaged = errors.New("header is damaged")
)

// Header is what the block says.
type Header struct {
	Magic     string // eight bytes
	Cluster   string
	Number    uint64
	Partition txn.Partition
}

// Encode returns the block with the given length, at least Size.
func (h Header) Encode(size int) []byte {
	if len(h.Magic) != magicSize || len(h.Cluster) > ClusterMax || size < Size {
		panic(fmt.Sprintf("header: magic %q, cluster key of %d bytes, block of %d", h.Magic, len(h.Cluster), size))
	}
	b := make([]byte, size)
	le := binary.LittleEndian
	copy(b, h.Magic)
	le.PutUint32(b[8:], Version)
	le.PutUint64(b[16:], h.Number)
	le.PutUint32(b[24:], uint32(h.Partition))
	le.PutUint16(b[28:], uint16(len(h.Cluster)))
	copy(b[32:], h.Cluster)
	le.PutUint32(b[12:], checksum(b))
	return b
}

// Decode reads a whole block of a kind of file. Errors wrap ErrDamaged,
// ErrNewerFormat or, unless it is of the given cluster, ErrOtherCluster.
func Decode(b []byte, magic, cluster string) (Header, error) {
	h, err := Parse(b, magic)
	if err == nil && h.Cluster != cluster {
		return Header{}, fmt.Errorf("cluster key is %q, not %q: %w", h.Cluster, cluster, ErrOtherCluster)
	}
	return h, err
}

// Parse is Decode of a block of any cluster.
func Parse(b []byte, magic string) (Header, error) {
	le := binary.LittleEndian
	if len(b) < Size || string(b[:magicSize]) != magic {
		return Header{}, fmt.Errorf("%w: it does not begin with %q", ErrDamaged, magic)
	}
	if got, want := checksum(b), le.Uint32(b[12:]); got != want {
		return Header{}, fmt.Errorf("%w: checksum is %08x, it says %08x", ErrDamaged, got, want)
	}
	if v := le.Uint32(b[8:]); v > Version {
		return Header{}, fmt.Errorf("format %d, known up to %d: %w", v, Version, ErrNewerFormat)
	}
	n := le.Uint16(b[28:])
	if n > ClusterMax {
		return Header{}, fmt.Errorf("%w: cluster key of %d bytes", ErrDamaged, n)
	}
	return Header{Magic: magic, Cluster: string(b[32 : 32+n]), Number: le.Uint64(b[16:]), Partition: txn.Partition(le.Uint32(b[24:]))}, nil
}

// checksum is that of the block with zeros in the checksum's place.
func checksum(b []byte) uint32 {
	c := bytes.Clone(b)
	clear(c[12:16])
	return record.Checksum(c)
}
