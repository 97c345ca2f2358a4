package header_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/storage/internal/header"
)

const magic = "WALTZTST"

var sample = header.Header{Magic: magic, Cluster: "a cluster", Number: 1 << 40, Partition: 7}

func TestRoundTrip(t *testing.T) {
	for _, size := range []int{header.Size, 4096} {
		h, err := header.Decode(sample.Encode(size), magic, "a cluster")
		require.NoError(t, err)
		require.Equal(t, sample, h)
	}
}

func TestRefusals(t *testing.T) {
	b := sample.Encode(header.Size)
	_, err := header.Decode(b, magic, "another cluster")
	require.ErrorIs(t, err, header.ErrOtherCluster)
	_, err = header.Decode(b, "WALTZXXX", "a cluster")
	require.ErrorIs(t, err, header.ErrDamaged)
	_, err = header.Decode(b[:100], magic, "a cluster")
	require.ErrorIs(t, err, header.ErrDamaged)

	newer := bytes.Clone(b)
	binary.LittleEndian.PutUint32(newer[8:], header.Version+1)
	binary.LittleEndian.PutUint32(newer[12:], 0)
	binary.LittleEndian.PutUint32(newer[12:], record.Checksum(newer))
	_, err = header.Decode(newer, magic, "a cluster")
	require.ErrorIs(t, err, header.ErrNewerFormat)
}

// A flipped bit is damage, never a newer format or another cluster.
func TestFlippedBits(t *testing.T) {
	b := sample.Encode(header.Size)
	for i := range len(b) * 8 {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		_, err := header.Decode(bad, magic, "a cluster")
		require.ErrorIs(t, err, header.ErrDamaged, "bit %d", i)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample.Encode(header.Size))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := header.Decode(b, magic, "a cluster"); err == nil {
			require.Equal(t, b, h.Encode(len(b)))
		}
	})
}
