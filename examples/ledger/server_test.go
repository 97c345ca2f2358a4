package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// However a drain meets the requests, each that was sent on a connection that the server
// has is answered: a client that leaves when it is told to never sees a connection that was
// closed in place of an answer.
func TestDrainAnswersWhatItTook(t *testing.T) {
	t.Parallel()
	for run := range 5 {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			var draining atomic.Bool
			work := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
			})
			s := newServer(serveFlags{requestMax: time.Second, drain: 5 * time.Second}, work, &draining)
			asked, ask := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.serve(asked, context.WithoutCancel(asked), l) }()

			var answered atomic.Int64
			var clients sync.WaitGroup
			for range 32 {
				clients.Go(func() { untilTold(t, "http://"+l.Addr().String(), &answered) })
			}
			require.Eventually(t, func() bool { return answered.Load() > 500 }, 20*time.Second, time.Millisecond)
			ask()
			clients.Wait()
			require.NoError(t, <-ended)
			require.True(t, draining.Load())
		})
	}
}

// untilTold sends requests on one connection until an answer says that it closes. They have
// nothing that would let the transport send them again by itself.
func untilTold(t *testing.T, url string, answered *atomic.Int64) {
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	for n := 0; ; n++ {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, struct{ io.Reader }{strings.NewReader("hello")})
		if err != nil {
			t.Error(err)
			return
		}
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Errorf("request %d: %v", n, err)
			return
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(text) != "hello" {
			t.Errorf("request %d: answered %q: %v", n, text, err)
			return
		}
		answered.Add(1)
		if res.Close {
			return
		}
	}
}
