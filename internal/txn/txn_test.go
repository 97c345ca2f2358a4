package txn_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/txn"
)

// HashLock travels and lies on disks: these values never change. The first two
// are the sanity vectors that XXH3 itself publishes.
func TestHashLockGolden(t *testing.T) {
	for _, c := range []struct {
		name string
		id   uint64
		want txn.LockHash
	}{
		{"", 0, 0x2d06800538d394c2},
		{"", 0x9E3779B185EBCA8D, 0xa8a6b918b2f0364a},
		{"account", 0, 0xaf1efc81290fc0d3},
		{"account", 1, 0xb8c0574042ced3f5},
		{"account", math.MaxUint64, 0xf92bce1af03e6d18},
		{"a lock name that is longer than sixteen bytes", 42, 0xeec2ae72bd1620ca},
		{"a lock name that is longer than one hundred and twenty-eight bytes, which is where the hash takes another path through its code again, twice", 42, 0x8ac5eaa23b85b050},
		{"Größe", 7, 0xf4b7a0a3440b060a},
	} {
		require.Equalf(t, c.want, txn.HashLock(c.name, c.id), "%q %d: %#x", c.name, c.id, uint64(txn.HashLock(c.name, c.id)))
	}
}

// The lock of a business key lies on disks too, and is no lock ID's.
func TestHashKeyGolden(t *testing.T) {
	require.Equal(t, txn.LockHash(0x1bec5c7c39476c91), txn.HashKey([]byte("transfer:42")))
	require.NotEqual(t, txn.HashLock("transfer:42", 0), txn.HashKey([]byte("transfer:42")))
}

func TestHashLockTellsNamesAndNumbersApart(t *testing.T) {
	seen := make(map[txn.LockHash]string)
	for _, name := range []string{"", "a", "b", "account", "accounts", "seat"} {
		for id := range uint64(2000) {
			h := txn.HashLock(name, id)
			other, taken := seen[h]
			require.False(t, taken, "%s %d has the hash of one of %s", name, id, other)
			seen[h] = name
		}
	}
}

func TestIDTextRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := txn.ID(rapid.Int64Min(-1).Draw(t, "id"))
		back, err := txn.ParseID(id.String())
		require.NoError(t, err)
		require.Equal(t, id, back)
	})
}

func TestParseIDRefuses(t *testing.T) {
	for _, s := range []string{"", "x", "-2", "1.5", "9223372036854775808", " 1", "1 ", "0x10"} {
		_, err := txn.ParseID(s)
		require.ErrorContains(t, err, "want a whole number from -1", "%q", s)
	}
}

func TestTimestampIsMicrosecondsInUTC(t *testing.T) {
	at := time.Date(2024, 2, 29, 13, 14, 15, 123456789, time.FixedZone("east", 3600))
	ts := txn.TimestampOf(at)
	require.Equal(t, txn.Timestamp(1709208855123456), ts)
	require.Equal(t, time.Date(2024, 2, 29, 12, 14, 15, 123456000, time.UTC), ts.Time())
	require.Equal(t, txn.Timestamp(-1), txn.TimestampOf(time.UnixMicro(-1)))
}

func TestLockModes(t *testing.T) {
	for _, c := range []struct {
		mode          txn.LockMode
		name          string
		checks, marks bool
	}{
		{txn.LockRead, "read", true, false},
		{txn.LockWrite, "write", true, true},
		{txn.LockAppend, "append", false, true},
		{0, "mode(0)", false, false},
		{9, "mode(9)", false, false},
	} {
		require.Equal(t, c.name, c.mode.String())
		require.Equal(t, c.checks, c.mode.Checks(), c.name)
		require.Equal(t, c.marks, c.mode.Marks(), c.name)
	}
}

func TestNamesAsText(t *testing.T) {
	require.Equal(t, "7", txn.Partition(7).String())
	require.Equal(t, "12", txn.SessionID(12).String())
	require.Equal(t, "-1", txn.None.String())
	require.Equal(t, "00010203040506070809000000000000", txn.RequestID{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}.String())
}

var hashSink txn.LockHash

func BenchmarkHashLock(b *testing.B) {
	b.ReportAllocs()
	for i := range b.N {
		hashSink = txn.HashLock("account", uint64(i))
	}
}

// TestHashVectors: docs/protocol.md gives these numbers to writers of clients.
func TestHashVectors(t *testing.T) {
	require.EqualValues(t, uint64(14915953312076788449), txn.HashLock("account", 7))
	require.EqualValues(t, uint64(7334721842763478972), txn.HashLock("account", 8))
	require.EqualValues(t, uint64(3244421341483603138), txn.HashLock("", 0))
	require.EqualValues(t, uint64(17059485553650656095), txn.HashKey([]byte("transfer:1")))
}
