package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// gateway calls ledger serve for a load.
type gateway struct {
	urls   []string
	client *http.Client
	run    string         // makes this run's keys its own
	at     []atomic.Int64 // for each connection, which URL it is at

	failures atomic.Int64 // requests that got no answer
}

func newGateway(f loadFlags) *gateway {
	t := &http.Transport{MaxIdleConnsPerHost: f.connections, MaxConnsPerHost: f.connections, DisableCompression: true}
	g := &gateway{urls: f.urls, client: &http.Client{Transport: t, Timeout: time.Minute}, run: rand.Text()[:10], at: make([]atomic.Int64, f.connections)}
	for i := range g.at {
		g.at[i].Store(int64(i))
	}
	return g
}

func (g *gateway) open(ctx context.Context, connection int, account int64) error {
	body := fmt.Appendf(nil, `{"deposit_minor":%d}`, loadDeposit)
	_, _, err := g.call(ctx, connection, "PUT", fmt.Sprintf("/v1/accounts/%d", account), "", body)
	return err
}

func (g *gateway) transfer(ctx context.Context, d draw) (declined bool, again int64, err error) {
	body := fmt.Appendf(nil, `{"from":%d,"to":%d,"amount_minor":%d}`, d.from, d.to, d.amount)
	return g.call(ctx, d.connection, "POST", "/v1/transfers", fmt.Sprintf("%s-%d-%d", g.run, d.connection, d.number), body)
}

// againAfter is the pause after an answer that asks to come again: shorter than it
// says, since this measures.
const againAfter = 50 * time.Millisecond

// call sends a request until its answer is final. An instance that does not answer is
// left for the next one, where the same request with the same key is the same; err is for
// when none answers.
func (g *gateway) call(ctx context.Context, connection int, method, path, key string, body []byte) (declined bool, again int64, err error) {
	for silent := 0; ; {
		url := g.urls[g.at[connection].Load()%int64(len(g.urls))] + path
		status, text, err := g.send(ctx, method, url, key, body)
		if err != nil && ctx.Err() == nil {
			g.failures.Add(1)
			g.at[connection].Add(1)
			if silent++; silent < len(g.urls) {
				continue
			}
		}
		switch silent = 0; {
		case err != nil:
			return false, again, fmt.Errorf("%s %s: %w", method, url, err)
		case status < 300:
			return false, again, nil
		case status == http.StatusConflict && key != "":
			return true, again, nil
		case status != http.StatusServiceUnavailable:
			return false, again, fmt.Errorf("%s %s: answered %d: %s", method, url, status, text)
		}
		again++
		select {
		case <-time.After(againAfter):
		case <-ctx.Done():
			return false, again, context.Cause(ctx)
		}
	}
}

func (g *gateway) send(ctx context.Context, method, url, key string, body []byte) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := g.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	return res.StatusCode, string(read), err
}
