package wire

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Plain puts an error of gRPC's own into words for people: what the network or the
// other side said, without the wrapping. The error stays in its chain; one that is no
// status is returned as it is.
func Plain(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	if s.Code() == codes.Unimplemented {
		return &plainError{"it is something else than is asked for here, or of another version: " + words(s), err}
	}
	return &plainError{words(s), err}
}

type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

// words returns what a status says. A connection that could not be made reads
//
//	connection error: desc = "transport: Error while dialing: dial tcp 10.0.0.1:7272: connect: connection refused"
//
// of which only the end says anything.
func words(s *status.Status) string {
	text := s.Message()
	if _, quoted, ok := strings.Cut(text, "connection error: desc = "); ok {
		if inner, err := strconv.Unquote(quoted); err == nil {
			text = inner
		}
	}
	text = strings.TrimPrefix(text, "transport: ")
	text = strings.TrimPrefix(text, "Error while dialing: ")
	if text == "" {
		text = s.Code().String()
	}
	return text
}
