package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// TestApplierKilledAtEveryStep kills one applier after the other on the same
// view: after the first compare-and-set, after the first statement, before COMMIT,
// after it, then each when it comes there for the second time, and so on, until
// one has reached the end of the log. Whenever one has died the view is exactly what its
// mark says (I7), and in the end what an undisturbed applier makes of the log.
func TestApplierKilledAtEveryStep(t *testing.T) {
	s := newServer(t, 2)
	logs := fillBank(t, s, 150)
	view, calm := filepath.Join(t.TempDir(), "view.db"), filepath.Join(t.TempDir(), "calm.db")
	viewer := func(name, path string, stage applier.Stage, nth int) *process {
		return startWorker(t, job{Kind: "view", Name: name, Log: s.url(), View: path, CrashStage: stage, CrashAt: nth, ToEnd: true})
	}
	deaths, died := 0, true
	for ; died; deaths++ {
		stage, nth := applier.Stage(deaths%4), 1+deaths/4
		p := viewer(fmt.Sprintf("applier that dies at stage %d, time %d", stage, nth), view, stage, nth)
		<-p.ended
		requireExact(t, view, logs)
		lines, _ := p.have()
		if died = len(lines) > 0; !died {
			require.NoError(t, p.err, p.stderr())
		}
	}
	t.Logf("%d appliers were killed", deaths-1)
	require.Greater(t, deaths, 12, "every stage several times")
	viewer("undisturbed applier", calm, 0, 0).wait(t)
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
