package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

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
	if err != nil {
		return nil, err
	}
	if o.partitions > 0 && client.Partitions() != o.partitions {
		err := fmt.Errorf("log %s has %d partitions, not %d: the number can't be changed; leave out --partitions, or use another log", o.log, client.Partitions(), o.partitions)
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
	case "waltz":
		return o.log, nil
	case "file":
	default:
		return "", usagef("--log %q: unknown scheme: want file:///abs/dir or waltz://host:port,...", o.log)
	}
	if o.partitions > 0 {
		q := u.Query()
		q.Set("partitions", fmt.Sprint(o.partitions))
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

// database reads the address of a view.
func database(addr string) (view.Database, error) {
	db, err := view.ParseDatabase(addr)
	if err != nil {
		return db, usagef("--db: %w", err)
	}
	return db, nil
}

// existing is database of a view that must be there.
func existing(ctx context.Context, addr string) (view.Database, error) {
	db, err := database(addr)
	if err == nil {
		err = db.Exists(ctx)
	}
	return db, err
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
