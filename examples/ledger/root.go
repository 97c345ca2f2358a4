package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

// run carries out one command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// report tells of an error and returns the exit code.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "ledger:", err)
	if isUsage(err) {
		return 2
	}
	return 1
}

// isUsage reports whether an error is a mistake in the command line.
func isUsage(err error) bool {
	_, is := errors.AsType[*usageError](err)
	return is || errors.Is(err, waltz.ErrAddress)
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "ledger",
		Short:         "A double-entry ledger on a Waltz log",
		Example:       "  ledger demo",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	asGroup(root)
	root.PersistentFlags().String("log-level", "warn", "lowest level logged on stderr: debug, info, warn or error")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(newDemo(), newImport(), newBalances(), newStatement(), newCheck(), newGenerate(), newServe(), newLoadCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		prepare(c)
	}
	return root
}

// prepare gives a command what all have: mistakes in arguments are usage errors,
// and cobra's own commands have an example, too.
func prepare(c *cobra.Command) {
	if c.Example == "" {
		c.Example = "  " + c.CommandPath() + " demo"
		if c.Name() == "completion" {
			c.Example = "  source <(ledger completion bash)"
			asGroup(c)
		}
	}
	for _, sub := range c.Commands() {
		if sub.Example == "" {
			sub.Example = "  " + sub.CommandPath()
		}
	}
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, a []string) error {
			if err := args(c, a); err != nil {
				return usagef("%w; see %s --help", err, c.CommandPath())
			}
			return nil
		}
	}
}

// asGroup makes a command that only holds others: alone it shows its help, and a
// sub-command that does not exist is a mistake.
func asGroup(c *cobra.Command) {
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("unknown command %q; see %s --help", args[0], c.CommandPath())
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

// need returns a usage error that names the flags that are empty.
func need(c *cobra.Command, flags ...string) error {
	for _, name := range flags {
		if c.Flag(name).Value.String() == "" {
			return usagef("%s needs --%s; see %[1]s --help", c.CommandPath(), name)
		}
	}
	return nil
}

// logger returns the logger that the flags ask for.
func logger(c *cobra.Command) (*slog.Logger, error) {
	name := c.Flag("log-level").Value.String()
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, usagef("--log-level %q: want debug, info, warn or error", name)
	}
	return slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}
