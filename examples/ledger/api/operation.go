package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// operation serves a route within its limits, and tells of it.
func (a *API) operation(r route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		began := time.Now()
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		a.metrics.inFlight.Inc()
		defer a.metrics.inFlight.Dec()
		if err := a.limited(r, status, req); err != nil {
			p := a.problemOf(err)
			a.tell(r, req, p)
			p.write(status)
		}
		a.metrics.observe(req.Method, r.path, status.status, time.Since(began))
	})
}

// limited serves a request if there is room for it.
func (a *API) limited(r route, w http.ResponseWriter, req *http.Request) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = internal.because("see the server's log").dueTo(fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
		}
	}()
	if !r.limited {
		return r.serve(w, req)
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		return overloaded.because("%d requests are under way, which is the most", a.InFlightMax)
	}
	ctx, cancel := context.WithTimeout(req.Context(), a.RequestMax)
	defer cancel()
	req = req.WithContext(ctx)
	req.Body = http.MaxBytesReader(w, req.Body, a.BodyBytesMax)
	return r.serve(w, req)
}

// problemOf turns an error into an answer.
func (a *API) problemOf(err error) *problem {
	if p, is := errors.AsType[*problem](err); is {
		return p
	}
	switch {
	case a.Ledger.Passes(err):
		return databaseUnavailable.because("try again").dueTo(err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return databaseUnavailable.because("it took longer than %s", a.RequestMax).dueTo(err)
	}
	return internal.because("see the server's log").dueTo(err)
}

// tell logs what is a fault of ours. What passes is for metrics, or there would be a
// line for each request while the log is away.
func (a *API) tell(r route, req *http.Request, p *problem) {
	level := slog.LevelDebug
	if p.kind == internal {
		level = slog.LevelError
	}
	if p.cause != nil {
		a.Logger.Log(req.Context(), level, "request failed", "method", req.Method, "route", r.path, "problem", p.kind.name, "error", p.cause)
	}
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
