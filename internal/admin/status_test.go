package admin

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/internal/txn"
)

// A full disk is told of, of the storage and of each of its replicas: what it lacks
// grows until somebody makes room. It is no loss, so it is a vote all the same.
func TestFullDiskIsDegraded(t *testing.T) {
	m, full := three(), sound
	m.Target = []string{"s1", "s2", "s3"}
	full.full = true
	require.Equal(t, diskFull, full.problem())
	s := new(Cluster).describe(0, m, map[string]answer{"s1": sound, "s2": full, "s3": sound})
	require.Equal(t, Degraded, s.Health)
	require.Equal(t, diskFull, s.Replicas[1].Problem)
	require.Empty(t, s.Replicas[0].Problem)
	s = new(Cluster).describe(0, m, map[string]answer{"s1": sound, "s2": full, "s3": full})
	require.Equal(t, Degraded, s.Health, "a server that can't append says so, and that counts")
	s = new(Cluster).describe(0, m, map[string]answer{"s1": sound, "s2": sound, "s3": sound})
	require.Equal(t, OK, s.Health)
}

// Incarnations are 64 random bits, of which many readers of JSON would round some away.
func TestIncarnationsAreText(t *testing.T) {
	odd := with(sound, func(r *storageclient.Replica) { r.Promise.Replica.Incarnation = math.MaxUint64 })
	text, err := json.Marshal(inspect(three(), "s1", txn.Partition(0), odd))
	require.NoError(t, err)
	require.Contains(t, string(text), `"incarnation":"18446744073709551615"`)
}
