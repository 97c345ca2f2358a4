package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

// run carries out one command line.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return root.ExecuteContext(ctx)
}

// report tells of an error on stderr and returns the exit code.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "waltz:", err)
	var usage *usageError
	if errors.As(err, &usage) || errors.Is(err, waltz.ErrAddress) {
		return 2
	}
	return 1
}

// usageError is a mistake in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "waltz",
		Short: "A write-ahead log that keeps microservices consistent",
		Long: `A write-ahead log that keeps microservices consistent.

Exit codes: 0 is good. 2 is a mistake in what was typed that can be known without
asking anybody: a flag that is missing, a number out of its range, an address that is
none. 1 is everything else, such as what the log or the database contradicts, a
partition that this log does not have, or nobody there.

With --output json stdout has exactly one object. Logs, progress and errors are on
stderr.`,
		Example:       "  waltz dev --dir /var/tmp/waltz --listen 127.0.0.1:7171 --partitions 4\n  waltz log hwm --log waltz://127.0.0.1:7171",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringP("output", "o", "table", "how results are printed: table or json")
	root.PersistentFlags().String("log-level", "", "lowest level logged on stderr: debug, info, warn or error (default: info for dev and run, else warn)")
	root.SetFlagErrorFunc(flagError)
	completeWith(root, "output", formats...)
	completeWith(root, "log-level", "debug", "info", "warn", "error")
	asGroup(root)
	root.AddCommand(newDev(), newServer(), newStorage(), newCluster(), newLog(), newMigrate(), newDead(), newBench(), newVersion())
	addDefaultCommands(root)
	checkFlagsFirst(root)
	return root
}

// flagError makes a usage error of a flag that a command does not have. Where the
// command only holds others, the word before the flag is what was mistyped.
func flagError(c *cobra.Command, err error) error {
	if c.HasSubCommands() && c.Flags().NArg() > 0 {
		err = unknownCommand(c.Flags().Arg(0))
	}
	return usagef("%w; see %s --help", err, c.CommandPath())
}

func unknownCommand(name string) error { return fmt.Errorf("unknown command %q", name) }

// addDefaultCommands adds cobra's own commands with the examples they lack.
func addDefaultCommands(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  waltz help log append"
		case "completion":
			c.Example = "  source <(waltz completion bash)"
			asGroup(c)
			for _, shell := range c.Commands() {
				shell.Example = "  waltz completion " + shell.Name()
			}
		}
	}
}

// checkFlagsFirst makes every command look at the common flags, and at those it
// needs, before it does anything.
func checkFlagsFirst(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		checkFlagsFirst(c)
	}
	if args := cmd.Args; args != nil {
		cmd.Args = func(c *cobra.Command, a []string) error {
			if err := args(c, a); err != nil {
				return usagef("%w; see %s --help", err, c.CommandPath())
			}
			return nil
		}
	}
	cmd.PreRunE = func(c *cobra.Command, _ []string) error {
		if _, err := format(c); err != nil {
			return err
		}
		if _, err := logger(c); err != nil {
			return err
		}
		return checkNeeded(c)
	}
}

const needed = "waltz_needed"

// need marks flags without which the command makes no sense.
func need(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		f := cmd.Flag(name)
		f.Usage += " (required)"
		f.Annotations = map[string][]string{needed: {"true"}}
	}
}

func checkNeeded(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *flag) {
		if f.Annotations[needed] != nil && (!f.Changed || f.Value.String() == "") {
			missing = append(missing, "--"+f.Name)
		}
	})
	if len(missing) > 0 {
		return usagef("%s needs %s; see %[1]s --help", cmd.CommandPath(), strings.Join(missing, " and "))
	}
	return nil
}

// asGroup makes a command that only holds others: alone it shows its help, and a
// sub-command that does not exist is a mistake.
func asGroup(cmd *cobra.Command) {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(args[0])
		}
		return nil
	}
	cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
}

func completeWith(cmd *cobra.Command, flag string, values ...string) {
	// The error says that the flag is not there, which a test would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// logger returns the logger that the flags ask for.
func logger(cmd *cobra.Command) (*slog.Logger, error) {
	name, err := cmd.Flags().GetString("log-level")
	if err != nil {
		return nil, err
	}
	level := slog.LevelWarn
	if cmd.Name() == "dev" || cmd.Name() == "run" {
		level = slog.LevelInfo
	}
	if err := level.UnmarshalText([]byte(name)); err != nil && name != "" {
		return nil, usagef("--log-level %q: want debug, info, warn or error", name)
	}
	return slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})), nil
}
