package embedded_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/internal/vfs"
	"github.com/waltz-log/waltz/waltz"
)

// scheme makes Dial use a transport as it is.
func scheme(tr waltz.Transport) waltz.Scheme {
	return waltz.Scheme{Name: "node", Open: func(context.Context, *url.URL) (waltz.Transport, error) { return tr, nil }}
}

// A restart reads what was not checkpointed and the tail that locks and request
// IDs are remembered of, whatever the size of the log.
func TestRestartDoesNotDependOnTheSizeOfTheLog(t *testing.T) {
	const step = 160_000 // above what the server remembers
	o := embedded.Options{Dir: "/log", FS: vfs.NewMem()}
	o.Storage.JournalFileBytes = 4 << 20
	var reads []int
	for range 2 {
		w := open(t, o)
		fill(t, w, step)
		require.NoError(t, w.Close(t.Context()))
		mem := o.FS.(*vfs.Mem)
		before := mem.Count(vfs.OpRead)
		w = open(t, o)
		reads = append(reads, mem.Count(vfs.OpRead)-before)
		require.NoError(t, w.Close(t.Context()))
	}
	require.LessOrEqual(t, reads[1], reads[0]*5/4+20, "reads at restart after %d and %d transactions", step, 2*step)
}

// fill appends transactions in large groups.
func fill(t *testing.T, w *embedded.Waltz, count int) {
	t.Helper()
	const group = 4000
	c := raw(t, w.Dial)
	for range count / group {
		appendRaw(t, c, 0, group)
	}
}
