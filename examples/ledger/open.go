package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/embedded"
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
	client, err := waltz.Dial(ctx, addr, waltz.WithSchemes(embedded.NewScheme(node)), waltz.WithLogger(o.logger))
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

// dbFile returns the file that a database's address names.
func dbFile(addr string) (string, error) {
	if !sqlite.IsURL(addr) {
		return "", usagef("--db %q: unknown scheme: want sqlite:///abs/file", addr)
	}
	file, err := sqlite.Path(addr)
	if err != nil {
		return "", usagef("--db: %w", err)
	}
	return file, nil
}

// existing returns the file of a view that must be there.
func existing(addr string) (string, error) {
	file, err := dbFile(addr)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("there is no view: %w", err)
	}
	return file, nil
}

// openExisting opens a view for reading, whether or not its applier runs.
func openExisting(addr string) (*sql.DB, error) {
	file, err := existing(addr)
	if err != nil {
		return nil, err
	}
	return sqlite.OpenDB(file)
}

// discard is the logger of what nobody wants to hear of.
func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
