package wire

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/waltz-log/waltz/proto/clientpb"
)

// TestReasonsTravelBothWays: every reason of the contract has a line in the
// table, and an error that becomes a status comes back as it was.
func TestReasonsTravelBothWays(t *testing.T) {
	for n, name := range clientpb.Reason_name {
		if n == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := Reason(n)
			require.NotContains(t, r.String(), "reason(")
			require.NotEqual(t, codes.Unknown, r.code())
			require.NotEqual(t, codes.OK, r.code())
			e := &Error{Reason: r, TransactionID: 42, Limit: 7, Message: "more"}
			got := FromStatus(Status(fmt.Errorf("wrapped: %w", e)))
			require.Equal(t, e, got)
			back, ok := ReasonOf(fmt.Errorf("wrapped: %w", got))
			require.True(t, ok)
			require.Equal(t, r, back)
			require.Equal(t, r.code(), status.Code(Status(e)))
		})
	}
	require.Len(t, reasons, len(clientpb.Reason_name)-1)
}

func TestOtherErrors(t *testing.T) {
	require.NoError(t, Status(nil))
	require.NoError(t, FromStatus(nil))
	require.ErrorIs(t, FromStatus(Status(context.Canceled)), context.Canceled)
	require.ErrorIs(t, FromStatus(Status(fmt.Errorf("read: %w", context.DeadlineExceeded))), context.DeadlineExceeded)
	require.Equal(t, codes.Internal, status.Code(Status(errors.New("bug"))))
	require.Equal(t, codes.NotFound, status.Code(Status(status.Error(codes.NotFound, "as it is"))))
	reason, ok := ReasonOf(FromStatus(status.Error(codes.Unavailable, "connection refused")))
	require.True(t, ok)
	require.Equal(t, Unavailable, reason)
	plain := errors.New("not a status")
	require.Equal(t, plain, FromStatus(plain))
}

func TestLabel(t *testing.T) {
	require.Equal(t, "lock_conflict", LockConflict.Label())
	require.Empty(t, Reason(99).Label())
}
