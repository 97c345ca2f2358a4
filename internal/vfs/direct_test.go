package vfs_test

import (
	"fmt"
	"path"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/internal/vfs"
)

func TestAligned(t *testing.T) {
	for _, n := range []int{0, 1, vfs.Block, vfs.Block + 1, 5 * vfs.Block, 9*vfs.Block - 1, 1 << 20} {
		for range 20 {
			b := vfs.Aligned(n)
			require.Empty(t, b)
			require.GreaterOrEqual(t, cap(b), n)
			require.Zero(t, cap(b)%vfs.Block)
			require.Zero(t, uintptr(unsafe.Pointer(unsafe.SliceData(b)))%vfs.Block)
		}
	}
}

// Whatever way a write takes, past the cache or through it, a reader sees it, and
// the file's other name does not matter.
func TestDirectWritesAreSeen(t *testing.T) {
	for name, sys := range systems(t) {
		t.Run(name, func(t *testing.T) {
			n := 0
			rapid.Check(t, func(t *rapid.T) {
				n++
				from, to := path.Join(sys.dir, fmt.Sprint(n)), path.Join(sys.dir, fmt.Sprintf("%d-renamed", n))
				f, err := sys.fs.Create(from)
				require.NoError(t, err)
				f = vfs.Direct(f)
				defer func() { require.NoError(t, f.Close()) }()
				require.NoError(t, sys.fs.Rename(from, to))
				reader, err := sys.fs.Open(to)
				require.NoError(t, err)
				defer func() { require.NoError(t, reader.Close()) }()

				const blocks = 8
				want := make([]byte, 0, blocks*vfs.Block)
				memory := vfs.Aligned(blocks * vfs.Block)[:blocks*vfs.Block]
				for step := range rapid.IntRange(1, 20).Draw(t, "steps") {
					unit := rapid.SampledFrom([]int{vfs.Block, vfs.Block, 100}).Draw(t, "unit")
					off := unit * rapid.IntRange(0, (blocks*vfs.Block-1)/unit).Draw(t, "offset")
					p := memory[rapid.SampledFrom([]int{0, 0, 8}).Draw(t, "misaligned"):]
					p = p[:min(unit*rapid.IntRange(1, blocks).Draw(t, "length"), len(p), blocks*vfs.Block-off)]
					for i := range p {
						p[i] = byte(step + 1)
					}
					n, err := f.WriteAt(p, int64(off))
					require.NoError(t, err)
					require.Equal(t, len(p), n)
					want = want[:max(len(want), off+len(p))]
					copy(want[off:], p)
					if rapid.Bool().Draw(t, "sync") {
						require.NoError(t, f.Datasync())
					}
					got := make([]byte, len(want))
					_, err = reader.ReadAt(got, 0)
					require.NoError(t, err)
					require.Equal(t, want, got)
				}
				size, err := f.Size()
				require.NoError(t, err)
				require.EqualValues(t, len(want), size)
			})
		})
	}
}

// A write and its sync into a file of zeros, past the page cache and through it, in
// the same run: direct/cache is the ratio of the medians.
func BenchmarkWriteAndSync(b *testing.B) {
	for _, kib := range []int{4, 64, 256} {
		b.Run(fmt.Sprintf("KiB=%d", kib), func(b *testing.B) {
			cache := median(b, kib<<10, func(f vfs.File) vfs.File { return f })
			direct := median(b, kib<<10, vfs.Direct)
			b.ReportMetric(float64(direct.Microseconds()), "direct-µs")
			b.ReportMetric(float64(cache.Microseconds()), "cache-µs")
			b.ReportMetric(float64(direct)/float64(cache), "direct/cache")
		})
	}
}

func median(b *testing.B, bytes int, how func(vfs.File) vfs.File) time.Duration {
	b.Helper()
	const size = 64 << 20
	zeroed, err := vfs.OS{}.Create(path.Join(b.TempDir(), "f"))
	require.NoError(b, err)
	f := how(zeroed)
	defer func() { require.NoError(b, f.Close()) }()
	p := vfs.Aligned(1 << 20)[:1<<20]
	for off := 0; off < size; off += len(p) {
		_, err := f.WriteAt(p, int64(off))
		require.NoError(b, err)
	}
	require.NoError(b, f.Sync())
	took := make([]time.Duration, 0, b.N)
	for i := range b.N {
		began := time.Now()
		_, err := f.WriteAt(p[:bytes], int64(i*bytes%size))
		require.NoError(b, err)
		require.NoError(b, f.Datasync())
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
