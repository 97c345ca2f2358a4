package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

func newDeadShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Print one dead letter, with its data and its whole error",
		Example: "  waltz dead show --db sqlite:///var/tmp/view.db --view ledger --partition 0 --id 4711",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return onLetter(cmd, func(db applier.Letters, r applier.Row, id waltz.ID) error {
				l, found, err := readLetter(cmd.Context(), db, r.Ref, id, true)
				if err != nil {
					return err
				}
				if !found {
					return noLetter(cmd.Context(), db, r, id)
				}
				return printLetter(cmd, toLetterJSON(r.Ref, &l, true))
			})
		},
	}
	deadFlags(cmd)
	idFlag(cmd)
	need(cmd, "id")
	return cmd
}

func printLetter(cmd *cobra.Command, l letterJSON) error {
	f, err := format(cmd)
	if err != nil {
		return err
	}
	if f == "json" {
		return printObject(cmd, l)
	}
	record := l.recordJSON
	data := record.DataBase64
	if record.Data != nil {
		data = *record.Data
	}
	for _, line := range []struct {
		name  string
		value any
	}{
		{"view", fmt.Sprintf("%s version %d", l.View, l.Version)},
		{"transaction", fmt.Sprintf("%d of partition %d, committed %s", l.TransactionID, l.Partition, fieldText(l.Time))},
		{"state", l.State},
		{"kind", fmt.Sprintf("%s (header %d)", l.Kind, l.Header)},
		{"key", fmt.Sprintf("%q", l.Key)},
		{"view keys", l.ViewKeys},
		{"error", fmt.Sprintf("%s %s: %s", l.Class, l.Code, l.Error)},
		{"failed", fmt.Sprintf("%s, attempts %d, last by %s", fieldText(l.FailedAt), l.Attempts, l.Instance)},
		{"reason", l.Reason},
		{"changed by", l.ChangedBy},
		{"data", data},
	} {
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%-12s %v\n", line.name, line.value); err != nil {
			return err
		}
	}
	return nil
}
