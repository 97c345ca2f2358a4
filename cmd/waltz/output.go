package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type flag = pflag.Flag

var formats = []string{"table", "json"}

// format returns the output format that the flags ask for.
func format(cmd *cobra.Command) (string, error) {
	f, err := cmd.Flags().GetString("output")
	if err != nil {
		return "", err
	}
	if !slices.Contains(formats, f) {
		return "", usagef("--output %q: want %s", f, strings.Join(formats, " or "))
	}
	return f, nil
}

// printObject prints a struct with json tags: as one JSON object, or as lines of
// name and value.
func printObject(cmd *cobra.Command, v any) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
	}
	return printFields(cmd.OutOrStdout(), reflect.ValueOf(v))
}

func printFields(out io.Writer, v reflect.Value) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for field, value := range v.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fmt.Fprintf(w, "%s\t%s\n", name, fieldText(value.Interface()))
	}
	return w.Flush()
}

// counted is a number of things: 1 partition, 2 partitions.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func fieldText(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []damageRow:
		var lines []string
		for _, d := range v {
			lines = append(lines, d.String())
		}
		return cmp.Or(strings.Join(lines, "\n\t"), "none")
	}
	return fmt.Sprint(v)
}
