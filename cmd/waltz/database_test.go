package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMySQLAddress(t *testing.T) {
	c, err := mysqlConfig("mysql://app:p%40ss@db.example:3307/ledger?timeout=5s")
	require.NoError(t, err)
	require.Equal(t, "app", c.User)
	require.Equal(t, "p@ss", c.Passwd)
	require.Equal(t, "db.example:3307", c.Addr)
	require.Equal(t, "ledger", c.DBName)
	require.Equal(t, "5s", c.Timeout.String())

	c, err = mysqlConfig("mysql://app@[::1]/ledger")
	require.NoError(t, err)
	require.Equal(t, "[::1]:3306", c.Addr)

	for _, bad := range []string{"mysql://", "mysql://host", "mysql://host/", "mysql:///db", "mysql://host/db?timeout=soon"} {
		_, err := mysqlConfig(bad)
		require.Error(t, err, bad)
	}
}

func TestPasswordsAreNotRepeated(t *testing.T) {
	require.Equal(t, "mysql://app:xxx@host/db", redact("mysql://app:secret@host/db"))
	require.Equal(t, "mysql://app:xxx@host", redact("mysql://app:se@cret@host"))
	require.Equal(t, "sqlite:///x", redact("sqlite:///x"))
}
