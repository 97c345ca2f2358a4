package main

import (
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/waltz"
	"github.com/waltz-log/waltz/waltz/waltztest"
)

// customerLock guards what is known of one customer.
const customerLock waltz.LockName = "customer"

// lockOf locks a text. Two with one hash cost a needless conflict now and then, and
// never a missed one.
func lockOf(email string) waltz.LockID {
	h := fnv.New64a()
	_, _ = h.Write([]byte(email)) // can't fail
	return customerLock.ID(h.Sum64())
}

func TestLockOnAText(t *testing.T) {
	log := waltztest.New(t)
	tx := waltz.Transaction{Header: 3, Locks: []waltz.Lock{lockOf("ada@example.org").Write()}, HighWaterMark: waltz.None}
	first := log.Append(0, tx)
	_, err := log.Client().Append(t.Context(), 0, tx)
	var conflict *waltz.LockConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, first, conflict.TransactionID)
}
