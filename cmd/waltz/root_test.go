package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

func TestEveryHelpTextHasAnExample(t *testing.T) {
	eachCommand(newRoot(), func(cmd *cobra.Command) {
		require.Contains(t, cmd.Example, "waltz", "%s has no example", cmd.CommandPath())
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
		out := help(t, cmd)
		require.Contains(t, out, "Examples:", cmd.CommandPath())
	})
}

// Help fits into a terminal: nothing wraps it.
func TestHelpTextsAreWrapped(t *testing.T) {
	const columns = 90
	eachCommand(newRoot(), func(cmd *cobra.Command) {
		if strings.Contains(cmd.CommandPath(), "completion") {
			return // cobra's own
		}
		for line := range strings.Lines(cmd.Long) {
			require.LessOrEqual(t, len(line)-1, columns, "%s: %s", cmd.CommandPath(), line)
		}
	})
}

// An example that does not parse teaches nothing.
func TestExamplesParse(t *testing.T) {
	eachCommand(newRoot(), func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			args := exampleArgs(line)
			if len(args) == 0 {
				continue
			}
			found, rest, err := newRoot().Find(args)
			require.NoError(t, err, line)
			require.NoError(t, found.ParseFlags(rest), line)
			require.NoError(t, found.ValidateArgs(found.Flags().Args()), line)
			require.NoError(t, checkNeeded(found), line)
		}
	})
}

// exampleArgs are an example's arguments after waltz, up to a redirection.
func exampleArgs(line string) []string {
	line = strings.NewReplacer("'", "", "<(", "", ")", "").Replace(line)
	_, line, _ = strings.Cut(line, "waltz ")
	line, _, _ = strings.Cut(line, " < ")
	line, _, _ = strings.Cut(line, " > ")
	return strings.Fields(line)
}

func eachCommand(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		eachCommand(c, visit)
	}
}

func help(t *testing.T, cmd *cobra.Command) string {
	t.Helper()
	var out bytes.Buffer
	cmd.SetOut(&out)
	require.NoError(t, cmd.Help())
	return out.String()
}

func TestExitCodes(t *testing.T) {
	var stderr bytes.Buffer
	require.Equal(t, 0, report(nil, &stderr))
	require.Empty(t, stderr.String())
	require.Equal(t, 1, report(errors.New("disk is full"), &stderr))
	require.Equal(t, "waltz: disk is full\n", stderr.String())
	require.Equal(t, 2, report(errors.Join(usagef("--x: %w", errors.New("no"))), &stderr))
}
