package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/waltz"
)

// logFlags are the flags of every command that talks to a log.
func logFlags(cmd *cobra.Command) {
	cmd.Flags().String("log", "", "address of the log: waltz://host:port,... or file:///dir")
	cmd.Flags().String("cluster", "", "fail unless the log has this cluster key")
	cmd.Flags().Duration("timeout", 10*time.Second, "how long to wait for the log to answer")
	need(cmd, "log")
}

// schemes are the kinds of addresses, beside waltz://, that the commands know.
func schemes(o embedded.Options) []waltz.Scheme {
	return []waltz.Scheme{embedded.NewScheme(o)}
}

// dial connects to the log that the flags name.
func dial(cmd *cobra.Command) (*waltz.Client, error) {
	addr := cmd.Flag("log").Value.String()
	log, err := logger(cmd)
	if err != nil {
		return nil, err
	}
	o := embedded.Options{Logger: log, Mode: embedded.OpenExisting}
	if cmd.Annotations[creates] != "" {
		o.Mode = embedded.OpenOrCreate
	}
	ctx, cancel := withTimeout(cmd)
	defer cancel()
	c, err := waltz.Dial(ctx, sized(cmd, addr), waltz.WithSchemes(schemes(o)...), waltz.WithClusterKey(cmd.Flag("cluster").Value.String()), waltz.WithLogger(log))
	if errors.Is(err, waltz.ErrAddress) {
		return nil, usagef("--log: %w", err)
	}
	return c, err
}

const creates = "waltz_creates"

// mayCreate marks a command that makes a log in a folder which has none. The others
// only look, and make nothing where an address was mistyped.
func mayCreate(cmd *cobra.Command) { cmd.Annotations = map[string]string{creates: "true"} }

// sized adds the number of partitions that a command asks for to the address of a
// log that is still to be made.
func sized(cmd *cobra.Command, addr string) string {
	u, err := url.Parse(addr)
	n := cmd.Flag("partitions")
	if err != nil || u.Scheme != embedded.Scheme.Name || u.RawQuery != "" || cmd.Annotations[creates] == "" || n == nil || n.Value.String() == "0" {
		return addr
	}
	if _, err := os.Stat(filepath.Join(u.Path, "metadata")); !errors.Is(err, fs.ErrNotExist) {
		return addr
	}
	return addr + "?partitions=" + n.Value.String()
}

// withTimeout bounds one exchange with the log.
func withTimeout(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	timeout, _ := cmd.Flags().GetDuration("timeout")
	return context.WithTimeoutCause(cmd.Context(), timeout, fmt.Errorf("no answer within --timeout %s", timeout))
}

// onLog does something with the log that the flags name, and closes it.
func onLog(cmd *cobra.Command, do func(c *waltz.Client) error) error {
	c, err := dial(cmd)
	if err != nil {
		return err
	}
	return errors.Join(do(c), c.Close())
}

// partitionFlag adds --partition.
func partitionFlag(cmd *cobra.Command) {
	cmd.Flags().Int32("partition", 0, "partition, from 0")
}

// partition reads --partition.
func partition(cmd *cobra.Command) (waltz.Partition, error) {
	p, err := cmd.Flags().GetInt32("partition")
	if err != nil {
		return 0, err
	}
	if p < 0 || p >= embedded.PartitionsMax {
		return 0, usagef("--partition %d: partitions are numbered from 0, up to %d", p, embedded.PartitionsMax-1)
	}
	return waltz.Partition(p), nil
}

// checkPartitions finds a number of partitions that no log can have.
func checkPartitions(n, least int) error {
	if n < least || n > embedded.PartitionsMax {
		return usagef("--partitions %d: want %d to %d", n, least, embedded.PartitionsMax)
	}
	return nil
}
