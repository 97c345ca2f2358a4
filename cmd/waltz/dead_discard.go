package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

func newDeadDiscard() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "discard",
		Short: "Give a dead letter up for good, and record why",
		Long: `Give a dead letter up for good. It stays in the table with the reason, but the view
no longer counts as incomplete because of it, and what was held behind it is
applied.`,
		Example: `  waltz dead discard --db sqlite:///var/tmp/view.db --view ledger --partition 0 --id 4711 --reason booked_by_hand`,
		Args:    cobra.NoArgs,
		RunE:    runDeadDiscard,
	}
	deadFlags(cmd)
	idFlag(cmd)
	cmd.Flags().String("reason", "", "why: it is kept with the letter")
	need(cmd, "id", "reason")
	return cmd
}

type discardResult struct {
	TransactionID waltz.ID `json:"transaction_id"`
	Discarded     bool     `json:"discarded"`
	Reason        string   `json:"reason"`
}

func runDeadDiscard(cmd *cobra.Command, _ []string) error {
	reason := strings.ToValidUTF8(cmd.Flag("reason").Value.String(), "\uFFFD")
	return onLetter(cmd, func(db applier.Letters, r applier.Row, id waltz.ID) error {
		found, err := db.Discard(cmd.Context(), r.Ref, id, reason, whoami())
		if err != nil {
			return fmt.Errorf("view %s: discard letter %d of partition %d: %w", r.Name, id, r.Partition, err)
		}
		if !found {
			return noLetter(cmd.Context(), db, r, id)
		}
		return printObject(cmd, discardResult{id, true, reason})
	})
}
