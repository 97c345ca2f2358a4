package api

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is wrong with a body is said in words that are not about Go.
func TestBodiesThatAreNoObject(t *testing.T) {
	for body, want := range map[string]string{
		"":         "want one JSON object: the body is empty",
		" \n":      "want one JSON object: the body is empty",
		"{":        "want one JSON object: it ends in the middle",
		`{"from":`: "want one JSON object: it ends in the middle",
		`{"from"`:  "want one JSON object: it ends in the middle",
		`{"fr`:     "want one JSON object: it ends in the middle",
		"[]":       "want one JSON object: it is none",
		"{}{}":     "want one JSON object: there is more behind it",
		"{}x":      "want one JSON object: there is more behind it",
		"{1}":      "want one JSON object: ",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/transfers", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		var p *problem
		require.ErrorAs(t, readBody(r), &p, body)
		require.Contains(t, p.Detail, want, body)
		require.NotContains(t, p.Detail, "EOF", body)
		require.NotContains(t, p.Detail, "json:", body)
	}
}
