package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPasswordsAreNotRepeated(t *testing.T) {
	require.Equal(t, "mysql://app:xxx@host/db", redact("mysql://app:secret@host/db"))
	require.Equal(t, "mysql://app:xxx@host", redact("mysql://app:se@cret@host"))
	require.Equal(t, "sqlite:///x", redact("sqlite:///x"))
}
