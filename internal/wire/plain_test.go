package wire

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		`connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused"`: "dial tcp 127.0.0.1:1: connect: connection refused",
		`last connection error: connection error: desc = "transport: authentication handshake failed: EOF"`:            "authentication handshake failed: EOF",
		`connection error: desc = "cut off`: `connection error: desc = "cut off`,
		"error reading from server: EOF":    "error reading from server: EOF",
		"":                                  "Unavailable",
	} {
		err := status.Error(codes.Unavailable, in)
		require.EqualError(t, Plain(err), want)
		require.ErrorIs(t, Plain(err), err)
		require.Equal(t, codes.Unavailable, status.Code(Plain(err)))
	}
	require.ErrorContains(t, Plain(status.Error(codes.Unimplemented, "unknown service x")), "something else than is asked for")
	require.NoError(t, Plain(nil))
	other := errors.New("no status")
	require.Equal(t, other, Plain(other))
}
