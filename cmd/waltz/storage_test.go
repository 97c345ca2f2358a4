package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/waltz"
)

// jsonOf runs a command line in this process and returns what it printed, as
// JSON, and the exit code.
func jsonOf(t *testing.T, into any, args ...string) (stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = report(run(t.Context(), append(args, "--output", "json"), strings.NewReader(""), &out, &errs), &errs)
	if into != nil && out.Len() > 0 {
		require.NoError(t, json.Unmarshal(out.Bytes(), into), out.String())
	}
	return errs.String(), code
}

// TestStorageCommands goes through what an operator does to one replica.
func TestStorageCommands(t *testing.T) {
	c := startMembers(t, 3)
	client, err := waltz.Dial(t.Context(), "waltz://"+c.server.addr)
	require.NoError(t, err)
	defer client.Close()
	h := startHammer(t, client, 4)
	h.more(t, 200)
	h.stop(t, client)
	last := mark(t, client)
	c.same(t, last)
	on := func(verb string, args ...string) []string {
		return append([]string{"storage", verb, "--storage", c.storages[0].addr}, args...)
	}

	var sum, other checksum
	_, code := jsonOf(t, &sum, on("checksum", "--partition", "0", "--to", last.String())...)
	require.Zero(t, code)
	require.EqualValues(t, last+1, sum.Records)
	_, code = jsonOf(t, &other, "storage", "checksum", "--storage", c.storages[1].addr, "--partition", "0", "--to", last.String())
	require.Zero(t, code)
	require.Equal(t, sum.Sum, other.Sum)

	var list replicaList
	_, code = jsonOf(t, &list, on("list")...) // one object, as of every command
	require.Zero(t, code)
	require.Len(t, list.Replicas, 2)
	require.NotEmpty(t, list.ClusterKey)
	require.False(t, list.Full)

	var found scrubbed
	_, code = jsonOf(t, &found, on("scrub")...)
	require.Zero(t, code)
	require.Empty(t, found.Damage)

	var service availableReplica
	_, code = jsonOf(t, &service, on("availability", "off", "--partition", "0")...)
	require.Zero(t, code)
	require.Equal(t, "off", service.Availability)
	_, code = jsonOf(t, nil, on("availability", "on", "--partition", "0")...)
	require.Zero(t, code)

	var done repaired
	_, code = jsonOf(t, &done, on("repair", "--partition", "0", "--source", c.storages[1].addr)...)
	require.Zero(t, code)
	require.Empty(t, done.Left)

	errs, code := jsonOf(t, nil, on("repair", "--partition", "0")...)
	require.Equal(t, 2, code)
	require.Contains(t, errs, "--source")
	errs, code = jsonOf(t, nil, on("checksum", "--partition", "7", "--to", "1")...)
	require.Equal(t, 1, code)
	require.Contains(t, errs, "no replica of the partition")
	_, code = jsonOf(t, nil, on("availability", "sideways")...)
	require.Equal(t, 2, code)

	last = mark(t, client) // with what was on its way when the hammer stopped
	require.Zero(t, c.server.end(syscall.SIGTERM))
	var reset resetReplica
	_, code = jsonOf(t, &reset, on("reset", "--partition", "0", "--keep")...)
	require.Zero(t, code)
	require.LessOrEqual(t, reset.Last, last, "what the replica knew to be committed is kept")
	require.NotEmpty(t, reset.Incarnation)
	c.server.start() // a majority is there, and the third is taken in again
	c.same(t, last)
}
