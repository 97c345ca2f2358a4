//go:build postgres

package main

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// newDatabase makes an empty database for one test on the server of
// STOCK_TEST_DB=postgres://user:password@host:port/database, and drops it.
func newDatabase(t *testing.T) string {
	address, err := url.Parse(os.Getenv("STOCK_TEST_DB"))
	require.NoError(t, err)
	db, err := openDB(address.String())
	require.NoError(t, err, "STOCK_TEST_DB")
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	name := "stock_" + strings.ToLower(rand.Text())
	_, err = db.ExecContext(t.Context(), "CREATE DATABASE "+name)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := db.ExecContext(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
		require.NoError(t, err)
	})
	address.Path = "/" + name
	return address.String()
}
