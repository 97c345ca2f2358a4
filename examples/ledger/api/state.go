package api

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// state is the answer of the health routes.
type state struct {
	Status string            `json:"status"`
	Checks map[string]string `json:"checks,omitempty"`
}

func (a *API) health(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, state{Status: "alive"})
}

func (a *API) ready(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.ReadyMax)
	defer cancel()
	checks, problems := map[string]string{}, 0
	for check, err := range a.Ledger.Ready(ctx) {
		checks[check] = "ok"
		if err != nil {
			checks[check] = err.Error()
			problems++
		}
	}
	if problems > 0 {
		p := notReady.because("%d of %d checks fail", problems, len(checks))
		p.Checks = checks
		return p
	}
	return answer(w, http.StatusOK, state{"ready", checks})
}

func (a *API) showMetrics(w http.ResponseWriter, r *http.Request) error {
	promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	return nil
}
