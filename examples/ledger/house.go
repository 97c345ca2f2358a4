package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// house is a running ledger: the log's client, the view that follows it, and what
// makes entries.
type house struct {
	client *waltz.Client
	view   view.View
	runner *txcontext.Runner[view.Snapshot]
	ledger *ledger.Ledger[view.Snapshot]
	relay  *ledger.Relay[view.Snapshot]

	relayRunner *txcontext.Runner[view.Snapshot] // of its own, so that hooks see the clients only
	logger      *slog.Logger
	trouble     trouble // of the database
}

// houseOptions says where a house stands.
type houseOptions struct {
	log, db    string // addresses
	partitions int    // of a log to be created; of one that exists, if above 0
	mustExist  bool   // the log is not to be created
	logger     *slog.Logger
	runner     txcontext.Options
	policy     applier.Policy // for what can't be applied

	clientHooks waltz.Hooks
}

// openHouse connects to the log, migrates the tables and opens the view. Nothing
// runs yet.
func openHouse(ctx context.Context, o houseOptions) (h *house, err error) {
	h = &house{logger: o.logger}
	defer func() {
		if err != nil {
			err = errors.Join(err, h.close())
		}
	}()
	db, err := database(o.db) // a mistake in it is told before anything is dialed
	if err != nil {
		return h, err
	}
	if h.client, err = dial(ctx, o); err != nil {
		return h, err
	}
	if err = h.openView(ctx, db, o.policy); err != nil {
		return h, err
	}
	if h.runner, err = txcontext.NewRunner(h.client, h.view, o.runner); err != nil {
		return h, err
	}
	if h.relayRunner, err = txcontext.NewRunner(h.client, h.view, txcontext.Options{AttemptsMax: -1}); err != nil {
		return h, err
	}
	books := func(s view.Snapshot) ledger.Books { return view.NewBooks(s) }
	h.ledger = ledger.New(h.runner, books, h.client.PartitionFor)
	h.relay = ledger.NewRelay(ledger.New(h.relayRunner, books, h.client.PartitionFor), h.view, o.logger)
	return h, nil
}

// during runs the view and, if asked for, the relay while work does. The first
// error ends all.
func (h *house) during(ctx context.Context, relay bool, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	background := make(chan error, 2)
	run := func(what string, f func(context.Context) error) {
		go func() {
			err := f(ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", what, err)
				cancel(err)
			}
			background <- err
		}()
	}
	run("apply the log to the view", h.view.Run)
	running := 1
	if relay {
		run("relay transfers", func(ctx context.Context) error { return h.relay.Run(ctx, h.client.Partitions()) })
		running++
	}
	err := work(ctx)
	if cause := context.Cause(ctx); cause != nil && err != nil {
		err = cause // why the work was cut short
	}
	cancel(nil)
	for range running {
		if e := <-background; err == nil {
			err = e
		}
	}
	return err
}

// caughtUp waits until the view shows all that the log holds now.
func (h *house) caughtUp(ctx context.Context) error {
	for p := range waltz.Partition(h.client.Partitions()) {
		mark, err := h.client.HighWaterMark(ctx, p)
		if err != nil {
			return fmt.Errorf("read the log's high-water mark: %w", err)
		}
		if mark == waltz.None {
			continue
		}
		if err := h.patiently(ctx, func() error { return h.view.WaitFor(ctx, p, mark) }); err != nil {
			return err
		}
	}
	return nil
}

// openView opens the view, which makes its tables.
func (h *house) openView(ctx context.Context, db view.Database, policy applier.Policy) error {
	v, err := db.Open(ctx, applier.FromClient(h.client), applier.Options{Logger: h.logger, Policy: policy})
	if err != nil {
		return err
	}
	h.view = v
	return nil
}

func (h *house) closeView() error {
	if h.view == nil {
		return nil
	}
	return h.view.Close()
}

// close ends what is open, in the order of dependence.
func (h *house) close() error {
	var errs []error
	for _, r := range []*txcontext.Runner[view.Snapshot]{h.runner, h.relayRunner} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	errs = append(errs, h.closeView())
	if h.client != nil {
		errs = append(errs, h.client.Close())
	}
	return errors.Join(errs...)
}
