package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/cmd/waltz/internal/applybench"
)

// bench apply on real databases.
func TestBenchApplyScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/bench",
		Setup: func(env *testscript.Env) error {
			env.Values[processKey{}] = map[string]*devProcess{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"database": newDatabase(t),
			"devup":    devUp,
			"devdown":  devDown,
			"exits":    exits,
			"json":     checkJSON,
		},
	})
}

func TestApplyFiguresAreOneFlatObject(t *testing.T) {
	data, err := json.Marshal(applyFigures(applybench.Figures{
		Database: "sqlite",
		Cases:    []applybench.Case{{Way: applybench.PerBatch, Partitions: 4, Transactions: 100, View: applybench.Speed{PerSec: 90, CPU: 12}, Hand: applybench.Speed{PerSec: 120, CPU: 8}}},
		Idle:     &applybench.Idle{AppliedP50: 3 * time.Millisecond, CommitP50: time.Millisecond, BeyondP50: 2 * time.Millisecond},
	}))
	require.NoError(t, err)
	require.Equal(t, `{"database":"sqlite","per_batch_partitions_4_transactions":100,"per_batch_partitions_4_tx_per_sec":90,`+
		`"per_batch_partitions_4_hand_tx_per_sec":120,"per_batch_partitions_4_ratio":0.75,"per_batch_partitions_4_cpu_us_per_tx":12,"per_batch_partitions_4_hand_cpu_us_per_tx":8,"idle_applied_p50_ms":3,"idle_applied_p99_ms":0,`+
		`"idle_commit_p50_ms":1,"idle_commit_p99_ms":0,"idle_beyond_p50_ms":2,"idle_beyond_p99_ms":0}`, string(data))
}
