package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/applier"
)

// policies are what can become of a transaction that can't be applied, by the word for it.
// applier.Skip is none of them: a ledger that loses transactions is none.
var policies = []struct {
	word   string
	policy applier.Policy
}{{"stop", applier.Stop}, {"dead-letter", applier.DeadLetter}, {"quarantine", applier.QuarantineKey}}

func policyWords() (all []string) {
	for _, p := range policies {
		all = append(all, p.word)
	}
	return all
}

// poisonFlag adds the flag that chooses among them.
func poisonFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "on-poison", policies[0].word, "what to do with a transaction that can't be applied: stop before it; dead-letter: set it aside for waltz dead and go on; quarantine: so, with what changes its accounts later, but stop before one whose accounts nobody can tell")
	_ = c.RegisterFlagCompletionFunc("on-poison", cobra.FixedCompletions(policyWords(), cobra.ShellCompDirectiveNoFileComp))
}

// policyOf reads it.
func policyOf(word string) (applier.Policy, error) {
	i := slices.Index(policyWords(), word)
	if i < 0 {
		return 0, usagef("--on-poison %q: want %s", word, strings.Join(policyWords(), " or "))
	}
	return policies[i].policy, nil
}
