// Command ledger is a double-entry ledger on a Waltz log: the reference for how an
// application uses the public packages. Its domain is package ledger beside it.
//
// Results go to stdout, as text or as one JSON object; progress and logs to stderr.
// Exit codes: 0 good, 1 failed, 2 wrong usage.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(report(run(ctx, os.Args[1:], os.Stdout, os.Stderr), os.Stderr))
}
