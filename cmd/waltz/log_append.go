package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

func newLogAppend() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "append [DATA|-]",
		Short: "Append one transaction and print its ID",
		Long: `Append one transaction with the given data, or with what stdin holds.

Locks are written NAME:NUMBER. A transaction with --read or --write locks is
refused if another took one of them after --hwm, which is the high-water mark of
the view that the transaction was computed from (default: the log's own, so that
nothing can come in between). The same goes for --key: that a key is used only once
is for the view to tell, which stores it.`,
		Example: `  waltz log append --log waltz://127.0.0.1:7171 --partition 2 --header 10 '{"amount":100}'
  waltz log append --log file:///var/tmp/waltz --write account:42 --hwm 1234 - < body.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: runLogAppend,
	}
	logFlags(cmd)
	mayCreate(cmd)
	partitionFlag(cmd)
	f := cmd.Flags()
	f.Int32("header", 0, "transaction header, an integer of the application's")
	f.String("key", "", "business key, taken as a write lock of its own")
	f.StringArray("read", nil, "lock to take for read, may be repeated")
	f.StringArray("write", nil, "lock to take for write, may be repeated")
	f.StringArray("append", nil, "lock to take for append, may be repeated")
	f.Int64("hwm", 0, "high-water mark the transaction was computed from (default: the log's)")
	return cmd
}

type appendResult struct {
	Partition     waltz.Partition `json:"partition"`
	TransactionID waltz.ID        `json:"transaction_id"`
}

func runLogAppend(cmd *cobra.Command, args []string) error {
	p, err := partition(cmd)
	if err != nil {
		return err
	}
	tx, err := transactionFromFlags(cmd, args)
	if err != nil {
		return err
	}
	return onLog(cmd, func(c *waltz.Client) error {
		ctx, cancel := withTimeout(cmd)
		defer cancel()
		if !cmd.Flags().Changed("hwm") {
			if tx.HighWaterMark, err = c.HighWaterMark(ctx, p); err != nil {
				return err
			}
		}
		id, err := c.Append(ctx, p, tx)
		if err != nil {
			return err
		}
		return printObject(cmd, appendResult{p, id})
	})
}

func transactionFromFlags(cmd *cobra.Command, args []string) (tx waltz.Transaction, err error) {
	f := cmd.Flags()
	header, err := f.GetInt32("header")
	if err != nil {
		return tx, err
	}
	hwm, err := f.GetInt64("hwm")
	if err != nil {
		return tx, err
	}
	if hwm < int64(waltz.None) {
		return tx, usagef("--hwm %d: high-water marks start at -1", hwm)
	}
	tx.Header, tx.HighWaterMark, tx.Key = waltz.Header(header), waltz.ID(hwm), f.Lookup("key").Value.String()
	for _, mode := range []waltz.LockMode{waltz.LockRead, waltz.LockWrite, waltz.LockAppend} {
		locks, err := parseLocks(cmd, mode.String(), mode)
		if err != nil {
			return tx, err
		}
		tx.Locks = append(tx.Locks, locks...)
	}
	tx.Data, err = dataArgument(cmd.InOrStdin(), args)
	return tx, err
}

func parseLocks(cmd *cobra.Command, flag string, mode waltz.LockMode) ([]waltz.Lock, error) {
	texts, err := cmd.Flags().GetStringArray(flag)
	if err != nil {
		return nil, err
	}
	var locks []waltz.Lock
	for _, text := range texts {
		name, number, _ := strings.Cut(text, ":")
		id, err := strconv.ParseUint(number, 10, 64)
		if err != nil || name == "" {
			return nil, usagef("--%s %q: want NAME:NUMBER, as in account:42", flag, text)
		}
		locks = append(locks, waltz.Lock{LockID: waltz.LockName(name).ID(id), Mode: mode})
	}
	return locks, nil
}

// dataArgument is the argument itself, or stdin for "-" and for none.
func dataArgument(stdin io.Reader, args []string) ([]byte, error) {
	if len(args) == 1 && args[0] != "-" {
		return []byte(args[0]), nil
	}
	data, err := io.ReadAll(stdin)
	if err != nil {
		return nil, fmt.Errorf("read data from stdin: %w", err)
	}
	return data, nil
}
