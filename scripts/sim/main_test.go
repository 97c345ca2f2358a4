package main

import (
	"bytes"
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRun(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-seeds", "20"}, "clean: 20 schedules"},
		{[]string{"-from", "3", "-v"}, "everything is mended"},
		{[]string{"-help"}, ""},
	} {
		var out bytes.Buffer
		require.NoError(t, run(context.Background(), test.args, &out))
		require.Contains(t, out.String(), test.want)
	}
	require.Error(t, run(context.Background(), []string{"-seeds", "many"}, &bytes.Buffer{}))
}

// The table of a hunt is made from what a terse run says.
func TestSeen(t *testing.T) {
	found := seen.FindStringSubmatch("sim: seed 17, 18 schedules: P1: record 3 is gone\nmore")
	require.Equal(t, []string{"17", "18", "P1: record 3 is gone"}, found[1:])
}
