package main

import (
	"context"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/waltz-log/waltz/waltz"
)

func newLogTail() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print transactions of one partition as they are committed",
		Example: `  waltz log tail --log waltz://127.0.0.1:7171 --partition 0
  waltz log tail --log waltz://127.0.0.1:7171 --from 0 --header 10 --count 5 --output json`,
		Args: cobra.NoArgs,
		RunE: runLogTail,
	}
	logFlags(cmd)
	partitionFlag(cmd)
	f := cmd.Flags()
	f.Int64("from", 0, "first transaction ID (default: the next to be committed)")
	f.Int("count", 0, "end after so many transactions (default: on interrupt)")
	f.Int32Slice("header", nil, "print only transactions with one of these headers")
	f.Bool("headers-only", false, "leave the data out")
	return cmd
}

const tailBatch = 1024 // transactions taken from the feed at once

func runLogTail(cmd *cobra.Command, _ []string) error {
	o, err := tailOptions(cmd)
	if err != nil {
		return err
	}
	return onLog(cmd, func(c *waltz.Client) error {
		if !cmd.Flags().Changed("from") {
			ctx, cancel := withTimeout(cmd)
			defer cancel()
			if o.HighWaterMark, err = c.HighWaterMark(ctx, o.Partition); err != nil {
				return err
			}
		}
		return tail(cmd, c, o)
	})
}

func tailOptions(cmd *cobra.Command) (o waltz.SubscribeOptions, err error) {
	f := cmd.Flags()
	if o.Partition, err = partition(cmd); err != nil {
		return o, err
	}
	headers, err := f.GetInt32Slice("header")
	if err != nil {
		return o, err
	}
	for _, h := range headers {
		o.Headers = append(o.Headers, waltz.Header(h))
	}
	if o.HeadersOnly, err = f.GetBool("headers-only"); err != nil {
		return o, err
	}
	from, err := f.GetInt64("from")
	if err != nil {
		return o, err
	}
	if from < 0 {
		return o, usagef("--from %d: transaction IDs start at 0", from)
	}
	o.HighWaterMark = waltz.ID(from) - 1
	return o, nil
}

func tail(cmd *cobra.Command, c *waltz.Client, o waltz.SubscribeOptions) error {
	count, err := cmd.Flags().GetInt("count")
	if err != nil {
		return err
	}
	out, err := newRecordPrinter(cmd, o.Partition)
	if err != nil {
		return err
	}
	feed, err := c.Subscribe(cmd.Context(), o)
	if err != nil {
		return err
	}
	err = printFeed(cmd.Context(), feed, out, o.Headers, count)
	if cmd.Context().Err() != nil {
		err = nil // an interrupt is how tail ends
	}
	return errors.Join(err, feed.Close(), out.close())
}

// printFeed prints what the feed brings, count transactions at most if count is
// above 0.
func printFeed(ctx context.Context, feed *waltz.Subscription, out *recordPrinter, headers []waltz.Header, count int) error {
	for {
		batch, err := feed.Next(ctx, tailBatch)
		if err != nil {
			return err
		}
		for _, tx := range batch.Transactions {
			if len(headers) > 0 && !slices.Contains(headers, tx.Header) {
				continue
			}
			if err := out.print(tx); err != nil {
				return err
			}
			if out.count == count {
				return nil
			}
		}
	}
}
