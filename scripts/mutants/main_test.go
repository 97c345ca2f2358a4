package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	got, err := parse("# Mutants\n\n| mutant | breaks | package | test |\n| --- | --- | --- | --- |\n| `a-b` | I1: x | `server/internal/feed` | `TestX/y` |\n")
	require.NoError(t, err)
	require.Equal(t, []mutant{{"a-b", "server/internal/feed", "TestX/y"}}, got)

	_, err = parse("nothing here")
	require.Error(t, err)
	_, err = parse("| `a` | x | `p` | `x` |")
	require.Error(t, err)
}

func TestOnlyAFailingTestCatches(t *testing.T) {
	require.True(t, died([]byte("--- FAIL: TestX (0.00s)")))
	require.True(t, died([]byte("panic: boom")))
	require.False(t, died([]byte("panic: test timed out after 50s")))
	require.False(t, died([]byte("flag provided but not defined")))
}
