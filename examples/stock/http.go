package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// requestMax bounds a request, with all its waits and tries.
const requestMax = 5 * time.Second

type api struct {
	stock  *Stock
	view   *View
	client *waltz.Client
	logger *slog.Logger
}

func (a *api) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /deliveries", within(requestMax, a.receive))
	mux.HandleFunc("POST /orders", within(requestMax, a.order))
	mux.HandleFunc("GET /items/{item}", within(requestMax, a.item))
	mux.HandleFunc("GET /readyz", within(requestMax, a.ready))
	return mux
}

func within(d time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), d)
		defer cancel()
		h(w, r.WithContext(ctx))
	}
}

func (a *api) receive(w http.ResponseWriter, r *http.Request) {
	var d Delivery
	if err := json.NewDecoder(r.Body).Decode(&d); err != nil || d.Quantity <= 0 {
		http.Error(w, "want an item and a quantity above 0", http.StatusBadRequest)
		return
	}
	res, err := a.stock.Receive(r.Context(), businessKey("delivery", r), d)
	a.answer(w, res, err)
}

func (a *api) order(w http.ResponseWriter, r *http.Request) {
	var o Order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil || o.Quantity <= 0 || o.Customer == "" {
		http.Error(w, "want an item, a quantity above 0 and a customer", http.StatusBadRequest)
		return
	}
	res, err := a.stock.Order(r.Context(), businessKey("order", r), o, txcontext.Fresh())
	a.answer(w, res, err)
}

// businessKey makes the caller's key ours: one header, two kinds of requests.
func businessKey(kind string, r *http.Request) string {
	if key := r.Header.Get("Idempotency-Key"); key != "" {
		return kind + ":" + key
	}
	return ""
}

// item answers what is there, not older than the transaction ?at_least=ID.
func (a *api) item(w http.ResponseWriter, r *http.Request) {
	item, err := strconv.ParseInt(r.PathValue("item"), 10, 64)
	if err != nil {
		http.Error(w, "want a number as item", http.StatusBadRequest)
		return
	}
	p := a.stock.partitionOf(item)
	if text := r.URL.Query().Get("at_least"); text != "" {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			http.Error(w, "want a transaction ID as at_least", http.StatusBadRequest)
			return
		}
		if err := a.view.WaitFor(r.Context(), p, waltz.ID(id)); err != nil {
			a.fail(w, err)
			return
		}
	}
	var quantity int64
	err = a.view.Snapshot(r.Context(), p, func(ctx context.Context, view Snapshot, _ waltz.ID) (err error) {
		quantity, err = quantityOf(ctx, view, item)
		return err
	})
	if err != nil {
		a.fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]int64{"item": item, "quantity": quantity})
}

// outcome is the answer to what was committed.
type outcome struct {
	ID          waltz.ID `json:"id"`
	AlreadyDone bool     `json:"already_done,omitempty"`
}

func (a *api) answer(w http.ResponseWriter, res txcontext.Result, err error) {
	if err != nil {
		a.fail(w, err)
		return
	}
	writeJSON(w, http.StatusOK, outcome{res.ID, res.AlreadyDone})
}

// fail tells the caller what an error means to it.
func (a *api) fail(w http.ResponseWriter, err error) {
	status, text := meaning(err)
	if fault, is := a.view.Database().Fault(err); is && fault.Class.Transient() {
		status, text = http.StatusServiceUnavailable, "the database has trouble that passes"
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if status == http.StatusInternalServerError {
		a.logger.Error("request failed", "error", err)
	}
	writeJSON(w, status, map[string]string{"error": text})
}

func meaning(err error) (status int, text string) {
	var (
		declined   *txcontext.DeclinedError
		expired    *txcontext.ExpiredError
		notApplied *txcontext.NotAppliedError
		unknown    *waltz.UnknownError
		behind     *applier.WaitError
	)
	switch {
	case errors.As(err, &declined):
		return http.StatusConflict, declined.Reason.Error()
	case errors.As(err, &unknown):
		return http.StatusServiceUnavailable, "it may have been done: repeat it with the same Idempotency-Key"
	case errors.As(err, &expired):
		return http.StatusServiceUnavailable, "nothing was done: others were faster, or the log can't be reached"
	case errors.As(err, &notApplied):
		return http.StatusAccepted, "it was done, and does not show yet"
	case errors.As(err, &behind):
		return http.StatusServiceUnavailable, "the view has not come so far yet"
	case errors.Is(err, txcontext.ErrClosed):
		return http.StatusServiceUnavailable, "nothing was done: this instance is going down"
	}
	return http.StatusInternalServerError, "this should not have happened"
}

// ready tells whether this instance can do its work now.
func (a *api) ready(w http.ResponseWriter, r *http.Request) {
	for _, s := range a.view.Status() {
		if s.State != applier.StateApplying && s.State != applier.StateStandingBy {
			http.Error(w, "view is "+s.State.String(), http.StatusServiceUnavailable)
			return
		}
		if _, err := a.client.HighWaterMark(r.Context(), s.Partition); err != nil {
			http.Error(w, "log can't be reached", http.StatusServiceUnavailable)
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]bool{"ready": true})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the caller may be gone
}
