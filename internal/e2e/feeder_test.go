package e2e

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// feedWorker subscribes to every partition from the start, once with all data and
// once with that of some headers, and records what it is given until it is stopped.
func feedWorker(ctx context.Context, j job) error {
	client, err := j.dial(ctx)
	if err != nil {
		return err
	}
	rec, err := newRecorder(j.Record)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for p := range client.Partitions() {
		all := history.Feed{Client: j.Name + " all", Partition: waltz.Partition(p), Mark: waltz.None}
		some := history.Feed{Client: j.Name + " some", Partition: waltz.Partition(p), Mark: waltz.None, Headers: []waltz.Header{1, 3}}
		g.Go(func() error { return feed(ctx, client, rec, all) })
		g.Go(func() error { return feed(ctx, client, rec, some) })
	}
	return errors.Join(g.Wait(), client.Close(), rec.file.Close())
}

func feed(ctx context.Context, client *waltz.Client, rec *recorder, f history.Feed) error {
	s, err := client.Subscribe(ctx, waltz.SubscribeOptions{Partition: f.Partition, HighWaterMark: f.Mark, Headers: f.Headers})
	if err != nil {
		return err
	}
	for {
		b, err := s.Next(ctx, 0)
		if ctx.Err() != nil {
			return s.Close()
		}
		if err != nil {
			return fmt.Errorf("feed %s of partition %d: %w", f.Client, f.Partition, errors.Join(err, s.Close()))
		}
		if err := keep(rec, f, b); err != nil {
			return err
		}
	}
}

// keep also tells the test how far the feed is: a line of stdout for each batch.
func keep(rec *recorder, f history.Feed, b waltz.Batch) error {
	f.HighWaterMark = b.HighWaterMark
	for i := range b.Transactions {
		f.Entries = append(f.Entries, entryOf(&b.Transactions[i]))
	}
	if err := rec.write(history.Line{Batch: &f}); err != nil {
		return err
	}
	fmt.Println(f.Client, f.Partition, b.HighWaterMark)
	return nil
}
