package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/waltz-log/waltz/internal/storageclient"
	"github.com/waltz-log/waltz/waltz"
)

const (
	killInFlight = 256
	killStretch  = 5 * time.Second // before the kill, and while the storage is down
	killSlice    = 100 * time.Millisecond
	backMax      = 30 * time.Second
)

// killed kills a storage under load and brings it back, and prints what appends
// felt of it, and how fast it caught up.
func killed(ctx context.Context, o options, c *cluster, stdout io.Writer) (err error) {
	client, err := waltz.Dial(ctx, "waltz://"+c.server.addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	victim := c.storages[len(c.storages)-1]
	a := startAppending(ctx, client, o.size, killInFlight)
	before := a.rate(killStretch)
	if err := victim.end(syscall.SIGKILL); err != nil {
		return err
	}
	afterKill := a.until(before/2, killSlice, backMax)
	down := a.rate(killStretch)
	missing, err := client.HighWaterMark(ctx, 0)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := c.run(ctx, victim); err != nil {
		return err
	}
	recovered := time.Since(began)
	afterReturn := a.until(before/2, killSlice, backMax)
	records, caughtUp, err := catchUp(ctx, client, victim, missing)
	if err != nil {
		return err
	}
	back := a.rate(killStretch)
	slowest, err := a.stop()
	fmt.Fprintf(stdout, `
%s killed under load, %d in flight, and brought back:
  tx/s before, down, back     %.0f, %.0f, %.0f
  half the rate again         %v after the kill, %v after the return (bound 2 s)
  slowest append              %v (bound 1 s)
  storage's own recovery      %v
  caught up                   %d records in %v: %.1f MB/s of data
`, victim.name, killInFlight, before, down, back, afterKill.Round(time.Millisecond), afterReturn.Round(time.Millisecond), slowest.Round(time.Millisecond),
		recovered.Round(time.Millisecond), records, caughtUp.Round(time.Millisecond), float64(records)*float64(o.size)/caughtUp.Seconds()/1e6)
	return err
}

// catchUp waits until a storage that has come back holds what was committed without
// it.
func catchUp(ctx context.Context, client *waltz.Client, p *process, missing waltz.ID) (records int64, took time.Duration, err error) {
	key := client.LogID()
	s, err := storageclient.New(storageclient.Options{Address: p.addr, ClusterKey: key})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	first, began := waltz.None, time.Now()
	for {
		replicas, err := s.Replicas(ctx, 0)
		if err != nil || len(replicas) == 0 {
			return 0, 0, errors.Join(errors.New("the storage does not tell of its replica"), err)
		}
		last := replicas[0].Promise.Last
		if first < 0 {
			first = last
		}
		if last >= missing {
			return int64(last - first), time.Since(began), nil
		}
		time.Sleep(2 * time.Millisecond)
	}
}
