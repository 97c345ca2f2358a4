package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"time"
)

// gateway calls ledger serve for a load.
type gateway struct {
	urls   []string
	client *http.Client
	run    string // makes this run's keys its own
}

func newGateway(f loadFlags) *gateway {
	t := &http.Transport{MaxIdleConnsPerHost: f.connections, MaxConnsPerHost: f.connections, DisableCompression: true}
	return &gateway{f.urls, &http.Client{Transport: t, Timeout: time.Minute}, rand.Text()[:10]}
}

func (g *gateway) open(ctx context.Context, account int64) error {
	body := fmt.Appendf(nil, `{"deposit_minor":%d}`, loadDeposit)
	_, _, err := g.call(ctx, "PUT", fmt.Sprintf("%s/v1/accounts/%d", g.urls[account%int64(len(g.urls))], account), "", body)
	return err
}

func (g *gateway) transfer(ctx context.Context, d draw) (declined bool, again int64, err error) {
	body := fmt.Appendf(nil, `{"from":%d,"to":%d,"amount_minor":%d}`, d.from, d.to, d.amount)
	return g.call(ctx, "POST", g.urls[d.connection%len(g.urls)]+"/v1/transfers", fmt.Sprintf("%s-%d-%d", g.run, d.connection, d.number), body)
}

// againAfter is the pause after an answer that asks to come again: shorter than it
// says, since this measures.
const againAfter = 50 * time.Millisecond

// call sends a request until its answer is final.
func (g *gateway) call(ctx context.Context, method, url, key string, body []byte) (declined bool, again int64, err error) {
	for {
		status, text, err := g.send(ctx, method, url, key, body)
		switch {
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
