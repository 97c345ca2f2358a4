// Command stock keeps the stock of a warehouse: the program that the application
// developer's guide (docs/guide.md) builds, on SQLite, or with the build tag postgres
// or mysql on those.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/metrics"
	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

func main() {
	log := flag.String("log", "", "the log: file:///absolute/folder or waltz://host:port")
	db := flag.String("db", "", "the database of the view")
	listen := flag.String("listen", "127.0.0.1:8080", "where to serve HTTP")
	onlyMigrate := flag.Bool("migrate", false, "make and update the tables, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *onlyMigrate {
		err = migrate(ctx, *db)
	} else {
		err = serve(ctx, *log, *db, *listen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "stock:", err)
		os.Exit(1)
	}
}

// serve opens everything in the order of dependence, and closes it backwards.
func serve(ctx context.Context, log, db, listen string) (err error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	registry := prometheus.NewRegistry()
	if err = checkTables(ctx, db); err != nil {
		return err
	}
	client, err := waltz.Dial(ctx, log, waltz.WithSchemes(embedded.Scheme), waltz.WithLogger(logger))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	view, err := openView(ctx, client, db, applier.Options{
		Name: "stock", Migrate: applier.MigrateCheck, Logger: logger,
	}, handlers()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	runner, err := txcontext.NewRunner(client, view, txcontext.Options{Logger: logger, Hooks: newRuns(registry).hooks()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runner.Close()) }()
	registry.MustRegister(metrics.New(view))

	a := &api{&Stock{runner, client.PartitionFor}, view, client, logger}
	mux := a.routes()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return run(ctx, view, runner, &http.Server{Handler: mux, ReadHeaderTimeout: requestMax}, listen)
}

// run applies the log and serves until ctx ends, and then answers what it has taken.
func run(ctx context.Context, view *View, runner *txcontext.Runner[Snapshot], server *http.Server, listen string) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	applying, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	applied, served := make(chan error, 1), make(chan error, 1)
	go func() { applied <- view.Run(applying) }()
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-applied: // the view has stopped: see the policies
		applied <- nil
	case err = <-served:
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(applying, 10*time.Second)
	defer cancel()
	err = errors.Join(err, server.Shutdown(drain), runner.Shutdown(drain))
	stop()
	return errors.Join(err, <-applied)
}
