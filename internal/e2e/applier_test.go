package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// TestApplierKilledAtEveryStep kills an applier at the first stage of its life,
// then the next one at its second, and so on: after the compare-and-set, after
// each statement, before COMMIT and after it, over several batches. Whenever one
// has died the view is exactly what its mark says (I7), and in the end what an
// undisturbed applier makes of the same log.
func TestApplierKilledAtEveryStep(t *testing.T) {
	s := newServer(t, 2)
	logs := fillBank(t, s, 60)
	view, calm := filepath.Join(t.TempDir(), "view.db"), filepath.Join(t.TempDir(), "calm.db")
	viewer := func(name, path string, crashAt int) *process {
		return startWorker(t, job{Kind: "view", Name: name, Log: s.url(), View: path, CrashAt: crashAt, ToEnd: true})
	}
	stages := make(map[string]int)
	deaths := 0
	for {
		p := viewer(fmt.Sprint("applier ", deaths), view, deaths+1)
		<-p.ended
		for p, mark := range requireExact(t, view, logs) {
			require.GreaterOrEqual(t, mark, waltz.None, "partition %d", p)
		}
		lines, _ := p.have()
		if len(lines) == 0 {
			require.NoError(t, p.err, p.stderr())
			break
		}
		stages[strings.TrimPrefix(lines[0], "crash at ")]++
		deaths++
		require.Less(t, deaths, 500, "it never reaches the end")
	}
	t.Logf("killed %d times, by stage: %v", deaths, stages)
	require.Len(t, stages, 4, "every stage had its turn")
	viewer("undisturbed applier", calm, 0).wait(t)
	for p, mark := range requireExact(t, view, logs) {
		require.Equal(t, waltz.ID(len(logs[p])-1), mark)
		require.Equal(t, readBank(t, calm, p), readBank(t, view, p))
	}
}

// fillBank makes movements in the log without any view.
func fillBank(t *testing.T, s *devServer, count int) map[waltz.Partition][]history.Entry {
	t.Helper()
	c := s.client()
	defer func() { require.NoError(t, c.Close()) }()
	for i := range count {
		tx := waltz.Transaction{HighWaterMark: waltz.None}
		v := movement{From: outside, To: 1, Amount: 5}
		if i/s.partitions%2 == 1 {
			v = movement{From: 1, To: 2, Amount: 3}
		}
		require.NoError(t, moved().Put(&tx, named[movement]{Name: fmt.Sprint("movement-", i), Value: v}))
		_, err := c.Append(t.Context(), waltz.Partition(i%s.partitions), tx)
		require.NoError(t, err)
	}
	return s.logs()
}
