package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/waltz"
)

// TestMistakesAreToldClearly runs the commands as users do, with the mistakes
// that users make: the exit code says whose it was, the message what to do.
func TestMistakesAreToldClearly(t *testing.T) {
	s := newServer(t, 3)
	for _, c := range []struct {
		name string
		args string
		code int
		says []string
	}{
		{"partition out of range", "log append --log URL --partition 3 x", 1, []string{"partition is out of range", "0 to 2"}},
		{"negative partition", "log append --log URL --partition -1 x", 2, []string{"numbered from 0"}},
		{"read from a partition out of range", "log read --log URL --partition 9", 1, []string{"partition is out of range", "0 to 2"}},
		{"high-water mark of one, too", "log hwm --log URL --partition 9", 1, []string{"partition is out of range", "0 to 2"}},
		{"scheme mistyped", "log hwm --log walz://127.0.0.1:1", 2, []string{"walz", "waltz://", "file://"}},
		{"no scheme", "log hwm --log 127.0.0.1:7171", 2, []string{"waltz://"}},
		{"no port", "log hwm --log waltz://127.0.0.1", 2, []string{"127.0.0.1", "port"}},
		{"port is no number", "log hwm --log waltz://127.0.0.1:http:", 2, []string{"127.0.0.1:http"}},
		{"nobody there", "log hwm --timeout 1s --log waltz://127.0.0.1:1", 1, []string{"127.0.0.1:1"}},
		{"wrong cluster key", "log hwm --log URL --cluster nobodys", 1, []string{"another cluster", "nobodys"}},
		{"key too long", "log append --log URL --key " + strings.Repeat("k", 256) + " x", 1, []string{"key", "255"}},
		{"too large", "log append --log URL - <LARGE", 1, []string{"too large"}},
		{"unknown command", "log apend", 2, []string{"apend"}},
		{"unknown flag", "log hwm --log URL --partitoin 1", 2, []string{"partitoin"}},
		{"other output", "log hwm --log URL --output xml", 2, []string{"xml", "json"}},
		{"second process on the folder", "dev --dir DIR --listen 127.0.0.1:0", 1, []string{"DIR", "another process"}},
		{"embedded on the folder", "log hwm --log file://DIR", 1, []string{"DIR", "another process"}},
		{"address in use", "dev --dir DIR2 --listen ADDR", 1, []string{"ADDR", "in use"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			place := strings.NewReplacer("URL", s.url(), "DIR2", filepath.Join(t.TempDir(), "other"), "DIR", s.dir, "ADDR", s.addr)
			args, fromFile := strings.CutSuffix(place.Replace(c.args), " <LARGE")
			var stdin io.Reader
			if fromFile {
				stdin = bytes.NewReader(make([]byte, 64<<20))
			}
			_, stderr, code := outputOf(t, stdin, s.binary, strings.Fields(args)...)
			require.Equal(t, c.code, code, stderr)
			for _, text := range c.says {
				require.Contains(t, stderr, place.Replace(text))
			}
		})
	}
	require.Equal(t, waltz.None, mark(t, s), "none of it left anything in the log")
}

func mark(t *testing.T, s *devServer) waltz.ID {
	t.Helper()
	c := s.client()
	defer func() { require.NoError(t, c.Close()) }()
	id, err := c.HighWaterMark(t.Context(), 0)
	require.NoError(t, err)
	return id
}

// TestTooLargeThroughTheClient: the answer is typed, final, and names the limit.
func TestTooLargeThroughTheClient(t *testing.T) {
	s := newServer(t, 1)
	c := s.client()
	defer func() { require.NoError(t, c.Close()) }()
	limit := int(c.Limits().DataBytesMax)
	ctx, cancel := context.WithTimeout(t.Context(), patience())
	defer cancel()
	_, err := c.Append(ctx, 0, waltz.Transaction{Data: make([]byte, limit+1), HighWaterMark: waltz.None})
	require.ErrorIs(t, err, waltz.ErrTooLarge)
	_, err = c.Append(ctx, 1, waltz.Transaction{HighWaterMark: waltz.None})
	require.ErrorIs(t, err, waltz.ErrNoPartition)
	locks := make([]waltz.Lock, c.Limits().LocksMax+1)
	for i := range locks {
		locks[i] = seat.ID(uint64(i)).Write()
	}
	_, err = c.Append(ctx, 0, waltz.Transaction{Locks: locks, HighWaterMark: waltz.None})
	require.ErrorIs(t, err, waltz.ErrTooManyLocks)
	id, err := c.Append(ctx, 0, waltz.Transaction{Data: make([]byte, limit), HighWaterMark: waltz.None})
	require.NoError(t, err, "the limit itself is allowed")
	require.Equal(t, waltz.ID(0), id)
}

// TestForeignAndNewerFolders: data that is not this program's to touch is left
// as it is, and the refusal says why.
func TestForeignAndNewerFolders(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir, other string)
		says  []string
	}{
		{"storage of another cluster", func(t *testing.T, dir, other string) {
			for _, f := range journals(t, dir) {
				require.NoError(t, os.Remove(f))
			}
			copyJournals(t, other, dir)
		}, []string{"cluster"}},
		{"newer format", func(t *testing.T, dir, _ string) {
			for _, f := range journals(t, dir) {
				raiseVersion(t, f)
			}
		}, []string{"newer format"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dirs := [2]string{}
			for i := range dirs {
				s := newServer(t, 1)
				writeMany(t, s, 10, 100)
				s.kill()
				dirs[i] = s.dir
			}
			c.spoil(t, dirs[0], dirs[1])
			before := contents(t, dirs[0])
			_, stderr, code := output(t, command(t, "./cmd/waltz"), "dev", "--dir", dirs[0], "--listen", "127.0.0.1:0")
			require.Equal(t, 1, code, stderr)
			for _, text := range c.says {
				require.Contains(t, stderr, text)
			}
			require.Equal(t, before, contents(t, dirs[0]))
		})
	}
	t.Run("another number of partitions", func(t *testing.T) {
		s := newServer(t, 3)
		s.kill()
		_, stderr, code := output(t, s.binary, "dev", "--dir", s.dir, "--listen", "127.0.0.1:0", "--partitions", "4")
		require.Equal(t, 1, code, stderr)
		require.Contains(t, stderr, "3")
		require.Contains(t, stderr, "4")
		require.Contains(t, stderr, "partitions")
	})
}

// journals lists the journal files below a folder.
func journals(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	walk(t, dir, func(path string) {
		if filepath.Ext(path) == ".journal" {
			out = append(out, path)
		}
	})
	require.NotEmpty(t, out)
	return out
}

func walk(t *testing.T, dir string, visit func(path string)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			visit(path)
		}
		return err
	}))
}

func copyJournals(t *testing.T, from, to string) {
	t.Helper()
	for _, f := range journals(t, from) {
		rel, err := filepath.Rel(from, f)
		require.NoError(t, err)
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, rel), b, 0o600))
	}
}

// contents is everything in a folder but what a start may leave: locks.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	walk(t, dir, func(path string) {
		b, err := os.ReadFile(path)
		require.False(t, err != nil && !errors.Is(err, fs.ErrNotExist), "%v", err)
		if len(b) > 0 {
			out[path] = fmt.Sprintf("%x", sha256.Sum256(b))
		}
	})
	return out
}

// raiseVersion makes a file one of a version to come: the number at offset 8 of
// its first block, and the checksum of the block at offset 12.
func raiseVersion(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	block := make([]byte, 4096)
	_, err = f.ReadAt(block, 0)
	require.NoError(t, err)
	block[8]++
	clear(block[12:16])
	binary.LittleEndian.PutUint32(block[12:], record.Checksum(block))
	_, err = f.WriteAt(block, 0)
	require.NoError(t, err)
}
