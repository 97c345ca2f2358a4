package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/waltz"
)

// dialMax bounds how long a log that does not answer is waited for.
const dialMax = 30 * time.Second

// dial connects to a log. With partitions, one that is embedded is created with so
// many, and one that exists must have as many.
func dial(ctx context.Context, o houseOptions) (*waltz.Client, error) {
	addr, err := logAddress(o)
	if err != nil {
		return nil, err
	}
	node := embedded.Options{Logger: o.logger}
	if o.mustExist {
		node.Mode = embedded.OpenExisting
	}
	ctx, cancel := context.WithTimeout(ctx, dialMax)
	defer cancel()
	client, err := waltz.Dial(ctx, addr, waltz.WithSchemes(embedded.NewScheme(node)), waltz.WithLogger(o.logger), waltz.WithHooks(o.clientHooks))
	if errors.Is(err, waltz.ErrAddress) {
		return nil, usagef("--log: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if o.partitions > 0 && client.Partitions() != o.partitions {
		err := fmt.Errorf("log %s has %s, not %d: the number can't be changed; leave out --partitions, or use another log", o.log, partitionsText(client.Partitions()), o.partitions)
		return nil, errors.Join(err, client.Close())
	}
	return client, nil
}

// logAddress checks the address, and adds what an embedded log is created with.
func logAddress(o houseOptions) (string, error) {
	u, err := url.Parse(o.log)
	if err != nil {
		return "", usagef("--log: %w", err)
	}
	switch u.Scheme {
	case "file":
	default: // the client knows which there are
		return o.log, nil
	}
	if o.partitions > 0 {
		q := u.Query()
		q.Set("partitions", fmt.Sprint(o.partitions))
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

// checkPartitions finds a number of partitions that no log can have.
func checkPartitions(c *cobra.Command, n int) error {
	if n < 0 || n > embedded.PartitionsMax || c.Flags().Changed("partitions") && n == 0 {
		return usagef("--partitions %d: want 1 to %d", n, embedded.PartitionsMax)
	}
	return nil
}

// database reads the address of a view.
func database(addr string) (view.Database, error) {
	db, err := view.ParseDatabase(addr)
	if err != nil {
		return db, usagef("--db: %w", err)
	}
	return db, nil
}

// reader opens a view for questions, whether or not its applier runs.
func reader(ctx context.Context, addr string) (ask view.Querier, closeDB func() error, err error) {
	db, err := database(addr)
	if err != nil {
		return nil, nil, err
	}
	return db.Reader(ctx)
}

// discard is the logger of what nobody wants to hear of.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// viewForms tells how the view is named.
func viewForms() string {
	return "the view: " + strings.Join(view.Forms(), ", ") + " (required)"
}
