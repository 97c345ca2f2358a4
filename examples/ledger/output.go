package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// outputs adds the flag that says how the result is printed; the first is the default.
func outputs(c *cobra.Command, formats ...string) {
	c.Flags().StringP("output", "o", formats[0], "how the result is printed: "+strings.Join(formats, ", "))
	// The error says that the flag is not there, which a test would show.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	c.PreRunE = func(c *cobra.Command, _ []string) error {
		if got := c.Flag("output").Value.String(); !slices.Contains(formats, got) {
			return usagef("--output %q: want %s", got, strings.Join(formats, " or "))
		}
		return nil
	}
}

func output(c *cobra.Command) string { return c.Flag("output").Value.String() }

// printJSON writes one object on one line.
func printJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// printFields writes names and values in two columns.
func printFields(w io.Writer, fields ...[2]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	for _, f := range fields {
		fmt.Fprintf(t, "%s\t%s\n", f[0], f[1])
	}
	return t.Flush()
}

// count writes a whole number with commas: 20,000.
func count[T int | int64](n T) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
