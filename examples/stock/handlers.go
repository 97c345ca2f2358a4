package main

import (
	"strconv"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// handlers apply transactions one by one.
func handlers() []Handler {
	return []Handler{
		applier.On(received, applyReceived),
		applier.On(ordered, applyOrdered),
	}
}

// batchHandlers apply orders with set-based SQL.
func batchHandlers() []Handler {
	return []Handler{
		applier.On(received, applyReceived),
		applier.OnBatch(ordered, applyOrders),
	}
}

// quarantineHandlers tell what a transaction changes, for the policy QuarantineKey.
func quarantineHandlers() []Handler {
	return []Handler{
		applier.Keyed(applier.On(received, applyReceived), func(r waltz.Record[Delivery]) []string {
			return []string{strconv.FormatInt(r.Value.Item, 10)}
		}),
		applier.Keyed(applier.OnBatch(ordered, applyOrders), func(r waltz.Record[Order]) []string {
			return []string{strconv.FormatInt(r.Value.Item, 10)}
		}),
	}
}
