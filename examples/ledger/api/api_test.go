package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/examples/ledger/api"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// Each route, answer and property of the document is met here, and each answer is as
// the document has it.
func TestDocument(t *testing.T) {
	b := newBank(t)
	c := serve(t, api.Options{Ledger: b, BodyBytesMax: 512, RequestMax: 2 * time.Second})
	for _, s := range []struct {
		name string
		run  func(*testing.T, *caller, *bank)
	}{
		{"routes", testRoutes},
		{"open", testOpen},
		{"transfer", testTransfer},
		{"crossing", testCrossing},
		{"statement", testStatement},
		{"at least", testAtLeast},
		{"malformed", testMalformed},
		{"trouble", testTrouble},
		{"state", testState},
	} {
		t.Run(s.name, func(t *testing.T) {
			c := *c
			c.TB = t
			s.run(t, &c, b)
		})
	}
	require.Empty(t, c.doc.unmet(), "the document has what no test has met")
}

// The document has the routes that there are, and no other.
func testRoutes(t *testing.T, c *caller, _ *bank) {
	for _, op := range c.doc.operations() {
		method, path, _ := strings.Cut(op, " ")
		res, text := c.send(method, strings.NewReplacer("{account}", "x", "{transfer}", "x").Replace(path), nil, "")
		require.NotContains(t, text, "no-such-route", op)
		require.NotEqual(t, http.StatusMethodNotAllowed, res.StatusCode, op)
		res, text = c.send("DELETE", path, nil, "")
		require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode, op)
		require.Contains(t, res.Header.Get("Allow"), method)
		require.Contains(t, text, "urn:problem-type:ledger:method-not-allowed")
	}
	res, text := c.send("GET", "/v1/nowhere", nil, "")
	require.Equal(t, http.StatusNotFound, res.StatusCode)
	require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	require.Contains(t, text, "no-such-route")
	c.do(200, "GET", "/openapi.yaml", nil, "")
	c.do(200, "GET", "/openapi.json", nil, "")
}

func (c *caller) open(account, deposit int64) {
	c.do(201, "PUT", fmt.Sprintf("/v1/accounts/%d", account), nil, fmt.Sprintf(`{"deposit_minor":%d}`, deposit))
}

// balance reads an account in a state that has what was transferred in its partition.
func (c *caller) balance(account int64, query string) string {
	if last, any := c.seen.Load(c.bank.PartitionOf(ledger.Account(account)).String()); any && query == "" {
		query = fmt.Sprint("?at_least=", last)
	}
	return fmt.Sprint(c.do(200, "GET", fmt.Sprintf("/v1/accounts/%d%s", account, query), nil, "")["balance_minor"])
}

func order(from, to, amount int64) string {
	return fmt.Sprintf(`{"from":%d,"to":%d,"amount_minor":%d}`, from, to, amount)
}

func key(k string) headers { return headers{"Idempotency-Key": k} }

func testOpen(t *testing.T, c *caller, b *bank) {
	a := b.accounts(0, 100, 1)[0]
	path := fmt.Sprintf("/v1/accounts/%d", a)
	c.do(404, "GET", path, nil, "")
	first, text := c.send("PUT", path, nil, `{"deposit_minor":70}`)
	require.Equal(t, 201, first.StatusCode)
	require.Equal(t, path, first.Header.Get("Location"))
	again, same := c.send("PUT", path, nil, `{"deposit_minor":70}`)
	require.Equal(t, text, same)
	require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	require.Equal(t, "70", c.balance(a, ""))
	p := c.do(409, "PUT", path, nil, `{"deposit_minor":71}`)
	require.Equal(t, "urn:problem-type:ledger:account-exists", p["type"])
	c.do(201, "PUT", fmt.Sprintf("/v1/accounts/%d", b.accounts(1, 100, 1)[0]), nil, `{}`)
	c.open(b.closed(), 0)
	_, err := b.ledger.Close(t.Context(), ledger.Account(b.closed()), "2026-01-03", txcontext.WaitApplied())
	require.NoError(t, err)
	closed := c.do(200, "GET", fmt.Sprintf("/v1/accounts/%d", b.closed()), nil, "")
	require.Equal(t, "2026-01-03", closed["closed_on"])
}

func testTransfer(t *testing.T, c *caller, b *bank) {
	accounts := b.accounts(0, 200, 3)
	from, to, poor := accounts[0], accounts[1], accounts[2]
	c.open(from, 100)
	c.open(to, 0)
	c.open(poor, 10)

	first, text := c.send("POST", "/v1/transfers", key("k1"), order(from, to, 60))
	require.Equal(t, 201, first.StatusCode, text)
	for _, body := range []string{order(from, to, 60), fmt.Sprintf(`{ "type":"TRANSFER", "amount_minor":60, "to":%d, "from":%d }`, to, from)} {
		again, same := c.send("POST", "/v1/transfers", key("k1"), body)
		require.Equal(t, first.StatusCode, again.StatusCode)
		require.Equal(t, text, same)
		require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
		require.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	}
	require.Equal(t, "40", c.balance(from, ""))
	require.Equal(t, "60", c.balance(to, ""))
	status := c.do(200, "GET", first.Header.Get("Location"), nil, "")
	require.Equal(t, "completed", status["status"])

	elsewhere := b.accounts(1, 200, 1)[0]
	c.open(elsewhere, 1000)
	for _, body := range []string{order(from, to, 61), order(from, poor, 60), order(from, elsewhere, 60), strings.Replace(order(from, to, 60), "{", `{"type":"RENT",`, 1)} {
		p := c.do(422, "POST", "/v1/transfers", key("k1"), body)
		require.Equal(t, "urn:problem-type:ledger:key-reused", p["type"])
	}
	require.Equal(t, "40", c.balance(from, ""))

	// A key is of its sender: others use it for themselves, wherever they live.
	c.do(201, "POST", "/v1/transfers", key("k1"), order(to, from, 59))
	c.do(202, "POST", "/v1/transfers", key("k1"), order(elsewhere, to, 60))
	c.do(422, "POST", "/v1/transfers", key("k1"), order(to, from, 61))
	const highest = 1<<53 - 1
	c.open(highest, 2)
	res, text := c.send("POST", "/v1/transfers", key(strings.Repeat("~", 200)), order(highest, to, 1))
	require.Less(t, res.StatusCode, 300, "the longest key: %s", text)

	p := c.do(409, "POST", "/v1/transfers", key("k2"), order(poor, to, 11))
	require.Equal(t, "insufficient-balance", p["reason"])
	require.Contains(t, p["detail"], fmt.Sprint(poor))
	c.do(201, "POST", "/v1/transfers", key("k2"), order(poor, to, 10)) // what was declined used no key
	p = c.do(409, "POST", "/v1/transfers", key("k3"), order(to, b.accounts(0, 9000, 1)[0], 1))
	require.Equal(t, "no-such-account", p["reason"])
	p = c.do(409, "POST", "/v1/transfers", key("k4"), order(to, b.closed(), 1))
	require.Equal(t, "account-closed", p["reason"])
	c.do(404, "GET", "/v1/transfers/0:99999999", nil, "")
	rent := c.do(201, "POST", "/v1/transfers", key("k5"), fmt.Sprintf(`{"from":%d,"to":%d,"amount_minor":1,"type":"RENT"}`, to, from))
	require.Equal(t, "RENT", rent["type"])
}

// closed is an account that testOpen closes.
func (b *bank) closed() int64 { return b.accounts(0, 5000, 1)[0] }

// Money that goes to another partition is seen on its way, and comes back if nobody
// takes it. The first answer stays what it was.
func testCrossing(t *testing.T, c *caller, b *bank) {
	from, to, nobody := b.accounts(0, 300, 1)[0], b.accounts(1, 300, 1)[0], b.accounts(1, 9000, 1)[0]
	c.open(from, 100)
	c.open(to, 0)
	for _, s := range []struct {
		to             int64
		end, reason    string
		balance, there string
	}{{to, "credited", "", "40", "60"}, {nobody, "returned", "there is no such account", "40", "60"}} {
		k := key(fmt.Sprintf("crossing-%d", s.to))
		amount := map[bool]int64{true: 60, false: 30}[s.to == to]
		first, text := c.send("POST", "/v1/transfers", k, order(from, s.to, amount))
		require.Equal(t, 202, first.StatusCode, text)
		require.Contains(t, text, `"status":"pending"`)
		c.documented(first, "POST", "/v1/transfers", text)
		var now map[string]any
		require.Eventually(t, func() bool {
			now = c.do(200, "GET", first.Header.Get("Location"), nil, "")
			return now["status"] == s.end
		}, 10*time.Second, 2*time.Millisecond)
		if s.reason != "" {
			require.Equal(t, s.reason, now["reason"])
		}
		again, same := c.send("POST", "/v1/transfers", k, order(from, s.to, amount))
		require.Equal(t, 202, again.StatusCode)
		require.Equal(t, text, same)
		require.Eventually(t, func() bool { return c.balance(to, "") == s.there && c.balance(from, "") == s.balance }, 10*time.Second, 2*time.Millisecond)
	}
	lines := c.do(200, "GET", fmt.Sprintf("/v1/accounts/%d/statement", from), nil, "")["lines"].([]any)
	require.Len(t, lines, 4)
	require.Equal(t, "credited", lines[1].(map[string]any)["status"])
}

// Pages of any size come to the same statement, while others book.
func testStatement(t *testing.T, c *caller, b *bank) {
	accounts := b.accounts(1, 400, 2)
	a, other := accounts[0], accounts[1]
	c.open(a, 1000)
	c.open(other, 1000)
	path := fmt.Sprintf("/v1/accounts/%d/statement", a)
	for i := range 24 {
		c.do(201, "POST", "/v1/transfers", key(fmt.Sprint("s", i)), order(a, other, int64(i+1)))
	}
	c.balance(a, "") // so that all is shown
	whole := c.do(200, "GET", path, nil, "")
	require.NotContains(t, whole, "next_cursor")
	require.Len(t, whole["lines"], 25)
	balance := int64(0)
	for i, l := range whole["lines"].([]any) {
		var amount, after int64
		_, err := fmt.Sscan(fmt.Sprint(l.(map[string]any)["amount_minor"], " ", l.(map[string]any)["balance_minor"]), &amount, &after)
		require.NoError(t, err)
		balance += amount
		require.Equal(t, balance, after, "line %d", i)
	}
	for _, limit := range []int{1, 7, 25, 26, 1000} {
		var got []any
		cursor := ""
		for {
			page := c.do(200, "GET", fmt.Sprintf("%s?limit=%d%s", path, limit, cursor), nil, "")
			got = append(got, page["lines"].([]any)...)
			next, more := page["next_cursor"]
			if !more {
				break
			}
			cursor = fmt.Sprint("&cursor=", next)
		}
		require.Equal(t, whole["lines"], got)
	}
	first := c.do(200, "GET", path+"?limit=1", nil, "")
	for _, bad := range []string{"?cursor=", "?cursor=%zz", "?cursor=AAAA", "?limit=0", "?limit=1001", "?limit=x", "?limit=1&limit=2", "?page=2"} {
		c.do(400, "GET", path+bad, nil, "")
	}
	c.do(400, "GET", fmt.Sprintf("/v1/accounts/%d/statement?cursor=%s", other, first["next_cursor"]), nil, "")
	c.do(404, "GET", "/v1/accounts/8888/statement", nil, "")
}

// A reader that names what it has written never sees a state without it.
func testAtLeast(t *testing.T, c *caller, b *bank) {
	accounts := b.accounts(0, 500, 2)
	c.open(accounts[0], 50)
	c.open(accounts[1], 0)
	for i := range 20 {
		done := c.do(201, "POST", "/v1/transfers", key(fmt.Sprint("l", i)), order(accounts[0], accounts[1], 1))
		require.Equal(t, fmt.Sprint(i+1), c.balance(accounts[1], fmt.Sprint("?at_least=", done["transfer"])))
	}
	short := serve(t, api.Options{Ledger: b, RequestMax: 20 * time.Millisecond})
	p := short.do(503, "GET", fmt.Sprintf("/v1/accounts/%d?at_least=0:999999", accounts[0]), nil, "")
	require.Equal(t, "urn:problem-type:ledger:view-behind", p["type"])
	for _, bad := range []string{"0", "0:", "x:1", "2:0", "0:-1", "0:1:2", ""} {
		p := c.do(400, "GET", fmt.Sprintf("/v1/accounts/%d?at_least=%s", accounts[0], bad), nil, "")
		require.Equal(t, "at_least", p["errors"].([]any)[0].(map[string]any)["parameter"])
	}
}

func testMalformed(t *testing.T, c *caller, _ *bank) {
	for body, want := range map[string]string{
		``:                                     "#",
		`[]`:                                   "#",
		`{`:                                    "#",
		`{}x`:                                  "#",
		`{}`:                                   "#/from #/to #/amount_minor",
		`{"from":1,"to":2,"amount_minor":1.5}`: "#/amount_minor",
		`{"from":1,"to":2,"amount_minor":1.0}`: "#/amount_minor",
		`{"from":1,"to":2,"amount_minor":1e2}`: "#/amount_minor",
		`{"from":1,"to":2,"amount_minor":"1"}`: "#/amount_minor",
		`{"from":1,"to":2,"amount_minor":0}`:   "#/amount_minor",
		`{"from":1,"to":2,"amount_minor":-1}`:  "#/amount_minor",
		`{"from":1,"to":2,"amount_minor":9223372036854775808}`:                             "#/amount_minor",
		`{"from":0,"to":-1,"amount_minor":1}`:                                              "#/from #/to",
		`{"from":1,"to":1,"amount_minor":1}`:                                               "#/to",
		`{"from":1,"to":2,"amount_minor":1,"x/~":1}`:                                       "#/x~1~0",
		`{"from":1,"From":1,"to":2,"amount_minor":1}`:                                      "#/From",
		`{"from":1,"from":1,"to":2,"amount_minor":1}`:                                      "#/from",
		`{"from":1,"to":2,"amount_minor":1,"type":""}`:                                     "#/type",
		`{"from":1,"to":2,"amount_minor":1,"type":"Miete\u00e4"}`:                          "#/type",
		`{"from":1,"to":2,"amount_minor":1,"type":"` + strings.Repeat("x", 33) + `"}`:      "#/type",
		`{"from":null,"to":2,"amount_minor":1,"a":1,"b":[{}],"type":{"from":{"x":[1,2]}}}`: "#/from #/a #/b #/type",
	} {
		h := key("m")
		h["Content-Type"] = "application/json"
		p := c.do(400, "POST", "/v1/transfers", h, body)
		require.Equal(t, want, places(p, "pointer"), body)
	}
	for _, k := range []string{"", "a b", "\u00e4", strings.Repeat("x", 201)} {
		p := c.do(400, "POST", "/v1/transfers", key(k), order(1, 2, 3))
		require.Equal(t, "Idempotency-Key", places(p, "header"))
	}
	for _, account := range []string{"0", "-1", "x", "01", "9007199254740992", "1.0"} {
		for _, method := range []string{"GET", "PUT"} {
			p := c.do(400, method, "/v1/accounts/"+account, headers{"Content-Type": "application/json"}, "{}")
			require.Equal(t, "account", places(p, "parameter"))
		}
	}
	c.do(400, "PUT", "/v1/accounts/1?x=1", nil, "{}")
	c.do(400, "POST", "/v1/transfers?x=1", key("m"), order(1, 2, 3))
	c.do(400, "GET", "/v1/transfers/x", nil, "")
	c.do(400, "GET", "/v1/transfers/0:0?x=1", nil, "")
	for _, method := range []string{"PUT /v1/accounts/1", "POST /v1/transfers"} {
		method, path, _ := strings.Cut(method, " ")
		c.do(415, method, path, headers{"Idempotency-Key": "m", "Content-Type": "text/plain"}, "{}")
		c.do(413, method, path, key("m"), `{"type":"`+strings.Repeat("x", 600)+`"}`)
	}
}

func places(p map[string]any, of string) string {
	var all []string
	for _, f := range p["errors"].([]any) {
		all = append(all, fmt.Sprint(f.(map[string]any)[of]))
	}
	return strings.Join(all, " ")
}

// What is not the caller's fault is 503 if it passes, with a time, and 500 if not.
func testTrouble(t *testing.T, c *caller, b *bank) {
	set := func(p *atomic.Pointer[error], err error) {
		if p.Store(&err); err == nil {
			p.Store(nil)
		}
	}
	for _, s := range []struct {
		err    error
		status int
		kind   string
	}{
		{&waltz.UnknownError{Err: context.DeadlineExceeded}, 503, "log-unavailable"},
		{&txcontext.ExpiredError{Cause: context.DeadlineExceeded}, 503, "log-unavailable"},
		{&txcontext.ExpiredError{Cause: txcontext.ErrAttempts, Last: &waltz.LockConflictError{}}, 503, "contended"},
		{fmt.Errorf("append: %w", waltz.ErrStorageFull), 503, "log-unavailable"},
		{txcontext.ErrClosed, 503, "log-unavailable"},
		{errPasses, 503, "database-unavailable"},
		{errors.New("what"), 500, "internal"},
	} {
		set(&b.transferFails, s.err)
		for _, method := range []string{"PUT /v1/accounts/7", "POST /v1/transfers"} {
			method, path, _ := strings.Cut(method, " ")
			p := c.do(s.status, method, path, key("t"), map[string]string{"PUT": "{}", "POST": order(1, 2, 3)}[method])
			require.Equal(t, "urn:problem-type:ledger:"+s.kind, p["type"])
			require.NotContains(t, p["detail"], "what")
		}
	}
	set(&b.transferFails, nil)
	for err, status := range map[error]int{errPasses: 503, context.DeadlineExceeded: 503, errors.New("what"): 500} {
		set(&b.readFails, err)
		for _, path := range []string{"/v1/accounts/1", "/v1/accounts/1/statement", "/v1/transfers/0:0"} {
			c.do(status, "GET", path, nil, "")
		}
	}
	set(&b.readFails, nil)
	set(&b.waitFails, errPasses)
	c.do(503, "GET", "/v1/accounts/1?at_least=0:0", nil, "")
	set(&b.waitFails, nil)
}

func testState(t *testing.T, c *caller, b *bank) {
	c.do(200, "GET", "/healthz", nil, "")
	require.Equal(t, map[string]any{"log": "ok"}, c.do(200, "GET", "/readyz", nil, "")["checks"])
	err := errors.New("away")
	b.readyFails.Store(&err)
	require.Equal(t, map[string]any{"log": "away"}, c.do(503, "GET", "/readyz", nil, "")["checks"])
	b.readyFails.Store(nil)
	c.do(200, "GET", "/metrics", nil, "")
	_, text := c.send("GET", "/metrics", nil, "")
	require.Contains(t, text, `ledger_http_requests_total{code="404",method="GET",route="/v1/accounts/{account}"}`)
	require.Contains(t, text, `ledger_http_requests_total{code="405",method="other"`)
	require.Contains(t, text, `ledger_http_request_seconds_count{method="POST",route="/v1/transfers"}`)
}

// A body is refused as malformed just if the document's schema does not have it.
func TestBodiesAsTheSchemaHasThem(t *testing.T) {
	b := newBank(t)
	declined := error(&txcontext.DeclinedError{Reason: errors.New("no")})
	b.transferFails.Store(&declined)
	c := serve(t, api.Options{Ledger: b})
	number := rapid.OneOf(rapid.Int64Range(-1, 3), rapid.Int64(), rapid.SampledFrom([]int64{1 << 53, 1<<53 - 1, 1e12, 1e12 + 1}))
	rapid.Check(t, func(rt *rapid.T) {
		var members []string
		value := map[string]any{}
		for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"from", "to", "amount_minor", "type", "note"}), 2, 5, rapid.ID[string]).Draw(rt, "names") {
			text := fmt.Sprint(number.Draw(rt, name))
			value[name] = json.Number(text)
			if name == "type" || rapid.IntRange(0, 9).Draw(rt, "odd") == 0 {
				s := rapid.StringMatching(`[A-Z]{0,40}`).Draw(rt, "text")
				text, value[name] = `"`+s+`"`, s
			}
			members = append(members, fmt.Sprintf("%q:%s", name, text))
		}
		valid := c.doc.validate("#/components/schemas/Order", value) == nil && value["from"] != value["to"]
		res, text := c.send("POST", "/v1/transfers", key("k"), "{"+strings.Join(members, ",")+"}")
		require.Equal(rt, valid, res.StatusCode == http.StatusConflict, "%v: %s", members, text)
		require.Equal(rt, !valid, res.StatusCode == http.StatusBadRequest, "%v: %s", members, text)
	})
}

// Of many that send one request at the same time, one transfers and all get its answer.
func TestOneTransferForManySendings(t *testing.T) {
	b := newBank(t)
	c := serve(t, api.Options{Ledger: b})
	accounts := b.accounts(0, 0, 2)
	c.open(accounts[0], 1000)
	c.open(accounts[1], 0)
	for round := range 10 {
		var answers sync.Map
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				res, text := c.send("POST", "/v1/transfers", key(fmt.Sprint("r", round)), order(accounts[0], accounts[1], 7))
				answers.Store(fmt.Sprint(res.StatusCode, text), true)
			})
		}
		wg.Wait()
		different := 0
		answers.Range(func(k, _ any) bool { different++; require.Contains(t, k, "201"); return true })
		require.Equal(t, 1, different)
		require.Equal(t, fmt.Sprint(7*(round+1)), c.balance(accounts[1], ""))
	}
}

// One request more than fits is refused at once (I9); those that tell how the server
// is always fit.
func TestTooManyAtOnce(t *testing.T) {
	b := newBank(t)
	c := serve(t, api.Options{Ledger: b, InFlightMax: 1, RequestMax: time.Minute})
	a := b.accounts(0, 0, 1)[0]
	c.open(a, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { // it is refused, too, while another has the place
		defer close(ended)
		for ctx.Err() == nil {
			req, _ := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s/v1/accounts/%d?at_least=0:99", c.url, a), nil)
			if res, err := http.DefaultClient.Do(req); err == nil {
				res.Body.Close()
			}
		}
	}()
	require.Eventually(t, func() bool {
		res, text := c.send("GET", fmt.Sprintf("/v1/accounts/%d", a), nil, "")
		return res.StatusCode == 503 && strings.Contains(text, "overloaded") && res.Header.Get("Retry-After") == "1"
	}, 10*time.Second, time.Millisecond)
	c.do(200, "GET", "/healthz", nil, "")
	cancel()
	<-ended
	require.Eventually(t, func() bool {
		res, _ := c.send("GET", fmt.Sprintf("/v1/accounts/%d", a), nil, "")
		return res.StatusCode == 200
	}, 10*time.Second, time.Millisecond)
}

func TestOptions(t *testing.T) {
	_, err := api.New(api.Options{RequestMax: -1, InFlightMax: -1, BodyBytesMax: -1, ReadyMax: -1})
	for _, mistake := range []string{"Ledger", "RequestMax", "InFlightMax", "BodyBytesMax", "ReadyMax"} {
		require.ErrorContains(t, err, mistake)
	}
}
