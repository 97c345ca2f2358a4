package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/waltz-log/waltz/embedded"
)

// serveWorker is `waltz dev` in this test binary, for planted bugs.
func serveWorker(ctx context.Context, j job) error {
	w, err := embedded.Open(ctx, embedded.Options{
		Dir: j.Dir, Listen: j.Log, Partitions: j.Partitions, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	fmt.Println("serving", j.Log)
	select {
	case <-ctx.Done():
	case <-w.Done():
	}
	return errors.Join(w.Err(), w.Close(context.WithoutCancel(ctx)))
}
