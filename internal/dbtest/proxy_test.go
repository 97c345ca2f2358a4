package dbtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/dbtest"
)

// The client learns nothing in all three cases; whether the server has done it differs.
func TestProxyCutsAtTheMoment(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	direct := connect(t, address)
	_, err := direct.Exec(t.Context(), "CREATE TABLE kept (a int)")
	require.NoError(t, err)
	p := dbtest.NewProxy(t, address)
	for moment, rows := range map[dbtest.Moment][]int{dbtest.BeforeSent: {0}, dbtest.InFlight: {0, 1}, dbtest.Answered: {1}} {
		_, err := direct.Exec(t.Context(), "TRUNCATE kept")
		require.NoError(t, err)
		c := connect(t, p.URL())
		tx, err := c.Begin(t.Context())
		require.NoError(t, err)
		_, err = tx.Exec(t.Context(), "INSERT INTO kept VALUES (1)")
		require.NoError(t, err)
		cut := p.CutAt(moment, "Commit")
		require.Error(t, tx.Commit(t.Context()))
		<-cut
		var n int
		require.NoError(t, direct.QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n))
		require.Contains(t, rows, n, "moment %d", moment)
	}
}

func TestProxyCutsAll(t *testing.T) {
	p := dbtest.NewProxy(t, servers.PostgreSQL(t).NewDatabase(t))
	c := connect(t, p.URL())
	p.Cut()
	require.Error(t, c.Ping(t.Context()))
	require.NoError(t, connect(t, p.URL()).Ping(t.Context()))
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}
