package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// kindOf problems: what their type, title and status are.
type kindOf struct {
	name   string
	title  string
	status int
	retry  time.Duration // after which it may be tried again; 0: never as it is
}

// The kinds of problems, as openapi.yaml lists them.
var (
	badRequest       = kindOf{"bad-request", "The request is malformed", http.StatusBadRequest, 0}
	noRoute          = kindOf{"no-such-route", "There is no such route", http.StatusNotFound, 0}
	methodNotAllowed = kindOf{"method-not-allowed", "The route does not take this method", http.StatusMethodNotAllowed, 0}
	tooLarge         = kindOf{"too-large", "The request's body is too large", http.StatusRequestEntityTooLarge, 0}
	notJSON          = kindOf{"not-json", "The request's body is not JSON", http.StatusUnsupportedMediaType, 0}
	keyReused        = kindOf{"key-reused", "The key was used for another request", http.StatusUnprocessableEntity, 0}

	noSuchAccount  = kindOf{"no-such-account", "There is no such account", http.StatusNotFound, 0}
	noSuchTransfer = kindOf{"no-such-transfer", "There is no such transfer", http.StatusNotFound, 0}

	accountExists = kindOf{"account-exists", "The account is open already", http.StatusConflict, 0}
	declined      = kindOf{"declined", "The transfer was declined", http.StatusConflict, 0}

	logUnavailable      = kindOf{"log-unavailable", "The log did not answer in time", http.StatusServiceUnavailable, time.Second}
	databaseUnavailable = kindOf{"database-unavailable", "The database did not answer", http.StatusServiceUnavailable, time.Second}
	viewBehind          = kindOf{"view-behind", "The view has not reached the transaction", http.StatusServiceUnavailable, time.Second}
	contended           = kindOf{"contended", "Others were faster, again and again", http.StatusServiceUnavailable, time.Second}
	overloaded          = kindOf{"overloaded", "Too many requests are under way", http.StatusServiceUnavailable, time.Second}
	notReady            = kindOf{"not-ready", "The ledger can't serve now", http.StatusServiceUnavailable, time.Second}
	internal            = kindOf{"internal", "The server failed", http.StatusInternalServerError, 0}
)

// because makes a problem of a kind.
func (k kindOf) because(format string, args ...any) *problem {
	return &problem{
		Type: "urn:problem-type:ledger:" + k.name, Title: k.title, Status: k.status,
		Detail: fmt.Sprintf(format, args...), kind: k,
	}
}

// problem is an answer as of RFC 9457.
type problem struct {
	Type   string  `json:"type"`
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Detail string  `json:"detail"`
	Reason string  `json:"reason,omitempty"` // why a transfer was declined, as one word
	Errors []fault `json:"errors,omitempty"` // of a malformed request

	Checks map[string]string `json:"checks,omitempty"` // of readiness

	kind  kindOf
	cause error // for the log, never for the client
}

// fault is one mistake and its place: one of Pointer, Parameter and Header.
type fault struct {
	Detail    string `json:"detail"`
	Pointer   string `json:"pointer,omitempty"`   // into the body: #/amount_minor
	Parameter string `json:"parameter,omitempty"` // of the path or the query
	Header    string `json:"header,omitempty"`
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.Title + ": " + p.Detail + ": " + p.cause.Error()
	}
	return p.Title + ": " + p.Detail
}

func (p *problem) Unwrap() error { return p.cause }

func (p *problem) dueTo(err error) *problem {
	p.cause = err
	return p
}

// malformed is the problem of a request with these mistakes.
func malformed(faults ...fault) *problem {
	p := badRequest.because("%s", faults[0].Detail)
	if len(faults) > 1 {
		p.Detail = fmt.Sprintf("%s; and %d more, see errors", p.Detail, len(faults)-1)
	}
	p.Errors = faults
	return p
}

func (p *problem) write(w http.ResponseWriter) {
	if p.kind.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(p.kind.retry/time.Second)))
	}
	writeJSON(w, "application/problem+json", p.Status, p)
}

// answer writes a result.
func answer(w http.ResponseWriter, status int, v any) error {
	writeJSON(w, "application/json", status, v)
	return nil
}

func writeJSON(w http.ResponseWriter, contentType string, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // no type that is answered with can do that
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}
