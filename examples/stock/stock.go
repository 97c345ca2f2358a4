package main

import (
	"context"
	"errors"
	"strconv"

	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// Delivery is what the log keeps of goods that came in.
type Delivery struct {
	Item     int64 `json:"item"`
	Quantity int64 `json:"quantity"`
}

// Order is what the log keeps of goods that were sold.
type Order struct {
	Item     int64  `json:"item"`
	Quantity int64  `json:"quantity"`
	Customer string `json:"customer"`
}

// What this service writes to the log. Headers and names are for ever.
var (
	received = waltz.Kind[Delivery]{Header: 1, Name: "stock.received", Codec: waltz.JSON[Delivery]()}
	ordered  = waltz.Kind[Order]{Header: 2, Name: "stock.ordered", Codec: waltz.JSON[Order]()}
)

// itemLock guards the quantity of one item.
const itemLock waltz.LockName = "item"

// ErrSoldOut is why an order is declined.
var ErrSoldOut = errors.New("not enough in stock")

// Stock is the service, without HTTP.
type Stock struct {
	runner       *txcontext.Runner[Snapshot]
	partitionFor func(key string) waltz.Partition
}

// partitionOf returns where an item lives: all that it is locked with goes there.
func (s *Stock) partitionOf(item int64) waltz.Partition {
	return s.partitionFor("item:" + strconv.FormatInt(item, 10))
}

// Receive adds goods. Nobody's delivery depends on what is there, so they never
// conflict with each other.
func (s *Stock) Receive(ctx context.Context, key string, d Delivery, opts ...txcontext.Option) (txcontext.Result, error) {
	return s.runner.Run(ctx, txcontext.Context[Snapshot]{
		Partition: s.partitionOf(d.Item),
		Key:       key,
		Execute: func(_ context.Context, _ Snapshot, b *txcontext.Builder) error {
			b.Append(itemLock.ID(uint64(d.Item)))
			return received.Put(b, d)
		},
	}, opts...)
}

// Order sells goods, if there are enough.
func (s *Stock) Order(ctx context.Context, key string, o Order, opts ...txcontext.Option) (txcontext.Result, error) {
	return s.runner.Run(ctx, txcontext.Context[Snapshot]{
		Partition: s.partitionOf(o.Item),
		Key:       key,
		Execute: func(ctx context.Context, view Snapshot, b *txcontext.Builder) error {
			quantity, err := quantityOf(ctx, view, o.Item)
			if err != nil {
				return err
			}
			if quantity < o.Quantity {
				return txcontext.Decline(ErrSoldOut)
			}
			b.Write(itemLock.ID(uint64(o.Item)))
			return ordered.Put(b, o)
		},
	}, opts...)
}
