package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Bounds of one connection, beside those of a request.
const (
	headerMax      = 5 * time.Second
	headerBytesMax = 16 << 10
	idleMax        = 2 * time.Minute
)

// leaveMax is how long a drain lets clients take their connections away by themselves,
// and leaveLook how often it looks whether they have.
const (
	leaveMax  = time.Second
	leaveLook = 10 * time.Millisecond
)

// server serves HTTP and ends without leaving a request that it has read unanswered.
//
// http.Server.Shutdown closes connections that are idle, and a client may be sending on one
// just then: it sees a connection that was closed in place of an answer. So a drain has two
// parts. In the first, every answer says that its connection closes, after which
// clients open others; in the second the connections that are left, on which nothing
// was asked for a while, are closed.
type server struct {
	http.Server
	drain    time.Duration
	draining *atomic.Bool
	open     atomic.Int64 // connections
}

func newServer(f serveFlags, h http.Handler, draining *atomic.Bool) *server {
	s := &server{drain: f.drain, draining: draining}
	s.Server = http.Server{
		Handler: s.leaving(h), ReadHeaderTimeout: headerMax, ReadTimeout: headerMax + f.requestMax, WriteTimeout: headerMax + 2*f.requestMax,
		IdleTimeout: idleMax, MaxHeaderBytes: headerBytesMax, ConnState: s.count,
	}
	return s
}

func (s *server) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.open.Add(1)
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// leaving has answers close their connections when the drain has begun, also while the
// request was under way.
func (s *server) leaving(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&leavingWriter{ResponseWriter: w, draining: s.draining}, r)
	})
}

type leavingWriter struct {
	http.ResponseWriter
	draining *atomic.Bool
}

// WriteHeader adds the header that the answer closes its connection.
func (w *leavingWriter) WriteHeader(status int) {
	if w.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write is an answer without a status.
func (w *leavingWriter) Write(p []byte) (int, error) {
	if w.draining.Load() && w.Header().Get("Connection") == "" {
		w.Header().Set("Connection", "close") // without effect if the header is written
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (w *leavingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serve serves until asked ends, and then answers what it has taken. The end of running
// is that of the ledger itself.
func (s *server) serve(asked, running context.Context, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve HTTP: %w", err)
	case <-running.Done():
		return errors.Join(context.Cause(running), s.Close())
	case <-asked.Done():
	}
	ctx, cancel := context.WithTimeout(running, s.drain)
	defer cancel()
	s.letLeave(ctx)
	if err := s.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("drain: requests were still under way after %s: %w", s.drain, err), s.Close())
	}
	return nil
}

// letLeave waits until no connection is open, for a while.
func (s *server) letLeave(ctx context.Context) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, min(leaveMax, s.drain/2))
	defer cancel()
	look := time.NewTicker(leaveLook)
	defer look.Stop()
	for s.open.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}
