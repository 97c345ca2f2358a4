package local_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/metadata"
	"github.com/waltz-log/waltz/metadata/local"
)

// What is read without an error is written again as it was.
func FuzzDecode(f *testing.F) {
	mem := vfs.NewMem()
	s, err := local.Open(local.Options{FS: mem, Dir: dir})
	require.NoError(f, err)
	for _, key := range []string{"a", "a/b", "c"} {
		_, err := s.Set(f.Context(), key, []byte("value of "+key), metadata.Absent)
		require.NoError(f, err)
		b, err := mem.Bytes(dir + "/metadata")
		require.NoError(f, err)
		f.Add(b)
	}
	require.NoError(f, s.Close())
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := local.Decode(b)
		if err == nil {
			require.Equal(t, b, again)
		}
	})
}
