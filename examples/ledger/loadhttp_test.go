package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// An instance that dies under a load costs its share of requests, not the figures.
func TestLoadGoesOnWithoutAnInstance(t *testing.T) {
	t.Parallel()
	var served [2]atomic.Int64
	var instances [2]*httptest.Server
	warm := make(chan struct{})
	for i := range instances {
		instances[i] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if served[i].Add(1) == 50 && i == 1 {
				close(warm)
			}
			w.WriteHeader(http.StatusCreated)
		}))
	}
	defer instances[0].Close()
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		<-warm
		_ = instances[1].Listener.Close()
		instances[1].CloseClientConnections()
		instances[1].Close()
	}()
	var stdout, stderr bytes.Buffer
	err := run(t.Context(), []string{
		"load", "--url", instances[0].URL + "," + instances[1].URL, "--connections", "8", "--accounts", "20",
		"--duration", "500ms", "--warmup", "0s", "--output", "json",
	}, &stdout, &stderr)
	<-killed
	require.ErrorContains(t, err, "got no answer, and were sent to another instance")
	r := object(t, stdout.String())
	require.NotZero(t, r["failures"])
	require.Greater(t, r["transfers"], 50.0)
	require.Equal(t, 1, report(err, &stderr))
}
