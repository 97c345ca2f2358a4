package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz/waltztest"
)

func send(t *testing.T, h http.Handler, method, path, key, body string) (status int, answer map[string]any) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Idempotency-Key", key)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer), w.Body.String())
	return w.Code, answer
}

func TestHTTP(t *testing.T) {
	s := start(t, waltztest.New(t), newDatabase(t), applier.Options{}, handlers()...)
	a := &api{s.Stock, s.view, s.client, slog.New(slog.DiscardHandler)}
	h := a.routes()

	status, answer := send(t, h, "POST", "/deliveries", "d-1", `{"item":17,"quantity":10}`)
	require.Equal(t, http.StatusOK, status, answer)
	status, answer = send(t, h, "POST", "/orders", "o-1", `{"item":17,"quantity":3,"customer":"ada"}`)
	require.Equal(t, http.StatusOK, status, answer)
	id := answer["id"]
	status, answer = send(t, h, "POST", "/orders", "o-1", `{"item":17,"quantity":3,"customer":"ada"}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, map[string]any{"id": id, "already_done": true}, answer)
	status, answer = send(t, h, "GET", fmt.Sprintf("/items/17?at_least=%v", id), "", "")
	require.Equal(t, http.StatusOK, status)
	require.EqualValues(t, 7, answer["quantity"])
	status, answer = send(t, h, "POST", "/orders", "o-2", `{"item":17,"quantity":8,"customer":"bob"}`)
	require.Equal(t, http.StatusConflict, status)
	require.Equal(t, map[string]any{"error": "not enough in stock"}, answer)
	require.Eventually(t, func() bool {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/readyz", nil))
		return w.Code == http.StatusOK
	}, 10*time.Second, 10*time.Millisecond)
}
