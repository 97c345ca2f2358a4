package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
)

type view []applier.PartitionStatus

func (v view) Name() string                      { return "bank" }
func (v view) Status() []applier.PartitionStatus { return v }

func TestCollector(t *testing.T) {
	now := time.Unix(1000, 0)
	c := New(view{{
		Partition: 3, State: applier.StateRetrying, Since: now.Add(-5 * time.Second), HighWaterMark: 40, LogMark: 100,
		Oldest: now.Add(-2 * time.Second), Epoch: 2, Dead: 3, Held: 2, Skipped: 6, Retried: 8, Fault: applier.Fault{Class: applier.ClassPage}, Applied: 41, Batches: 7, Already: 5, Lost: 4, Retries: 9,
	}})
	c.now = func() time.Time { return now }
	r := prometheus.NewPedanticRegistry()
	require.NoError(t, r.Register(c))
	families, err := r.Gather()
	require.NoError(t, err)
	got := make(map[string]float64)
	for _, f := range families {
		require.NotEmpty(t, f.GetHelp())
		require.Len(t, f.GetMetric(), 1)
		m := f.GetMetric()[0]
		for _, l := range m.GetLabel() {
			switch l.GetName() {
			case "view":
				require.Equal(t, "bank", l.GetValue())
			case "partition":
				require.Equal(t, "3", l.GetValue())
			default:
				require.Equal(t, "retrying", l.GetValue())
			}
		}
		got[strings.TrimPrefix(f.GetName(), "waltz_applier_")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	require.Equal(t, map[string]float64{
		"high_water_mark": 40, "lag_transactions": 60, "lag_seconds": 2, "state_seconds": 5, "epoch": 2, "dead_letters": 3,
		"held_letters": 2, "skipped": 6, "retried_letters_total": 8, "needs_somebody": 1,
		"applied_total": 41, "batches_total": 7, "skipped_already_applied_total": 5, "lost_total": 4, "retries_total": 9, "state": 1,
	}, got)
}
