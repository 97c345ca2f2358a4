package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/embedded"
	"github.com/waltz-log/waltz/examples/ledger/api"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/examples/ledger/view"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const partitions = 2

// bank is a ledger on a real log and a real view. What it is told to fail, fails.
type bank struct {
	client *waltz.Client
	view   view.View
	ledger *ledger.Ledger[view.Snapshot]

	transferFails, readFails, waitFails, readyFails atomic.Pointer[error]
}

func newBank(t testing.TB) *bank {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	client, err := waltz.Dial(ctx, "file://"+filepath.Join(dir, "log")+"?partitions=2", waltz.WithSchemes(embedded.Scheme))
	require.NoError(t, err)
	db, err := view.ParseDatabase("sqlite://" + filepath.Join(dir, "view.db"))
	require.NoError(t, err)
	v, err := db.Open(ctx, applier.FromClient(client), applier.Options{})
	require.NoError(t, err)
	runner, err := txcontext.NewRunner(client, v, txcontext.Options{AttemptsMax: -1})
	require.NoError(t, err)
	l := ledger.New(runner, func(s view.Snapshot) ledger.Books { return view.NewBooks(s) }, client.PartitionFor)
	relay := ledger.NewRelay(l, v, slog.New(slog.DiscardHandler))
	ended := make(chan error, 2)
	go func() { ended <- v.Run(ctx) }()
	go func() { ended <- relay.Run(ctx, partitions) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, errors.Join(<-ended, <-ended, runner.Close(), v.Close(), client.Close()))
	})
	return &bank{client: client, view: v, ledger: l}
}

func failing(p *atomic.Pointer[error]) error {
	if err := p.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *bank) Partitions() int                              { return b.client.Partitions() }
func (b *bank) PartitionOf(a ledger.Account) waltz.Partition { return b.ledger.PartitionOf(a) }

func (b *bank) Open(ctx context.Context, a ledger.Account, deposit int64, on ledger.Date, opts ...txcontext.Option) (txcontext.Result, error) {
	if err := failing(&b.transferFails); err != nil {
		return txcontext.Result{}, err
	}
	return b.ledger.Open(ctx, a, deposit, on, opts...)
}

func (b *bank) Transfer(ctx context.Context, o ledger.Order, opts ...txcontext.Option) (txcontext.Result, error) {
	if err := failing(&b.transferFails); err != nil {
		return txcontext.Result{}, err
	}
	return b.ledger.Transfer(ctx, o, opts...)
}

func (b *bank) WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error {
	return errors.Join(failing(&b.waitFails), b.view.WaitFor(ctx, p, id))
}

func (b *bank) Read(ctx context.Context, p waltz.Partition, read func(context.Context, view.Snapshot, waltz.ID) error) error {
	if err := failing(&b.readFails); err != nil {
		return err
	}
	return b.view.Snapshot(ctx, p, read)
}

var errPasses = errors.New("database is away")

func (b *bank) Passes(err error) bool { return errors.Is(err, errPasses) }

func (b *bank) Ready(context.Context) map[string]error {
	return map[string]error{"log": failing(&b.readyFails)}
}

// accounts returns customers' accounts that live in a partition.
func (b *bank) accounts(p waltz.Partition, after ledger.Account, n int) (all []int64) {
	for a := after + 1; len(all) < n; a++ {
		if b.ledger.PartitionOf(a) == p {
			all = append(all, int64(a))
		}
	}
	return all
}

// caller sends requests and holds each answer against the document.
type caller struct {
	testing.TB
	url  string
	doc  *openAPI
	bank *bank
	seen *sync.Map // by partition, the transaction that the last answer named
}

func serve(t testing.TB, o api.Options) *caller {
	if o.Today == nil {
		o.Today = func() ledger.Date { return "2026-01-02" }
	}
	a, err := api.New(o)
	require.NoError(t, err)
	s := httptest.NewServer(a.Handler())
	t.Cleanup(func() { s.Close(); http.DefaultClient.CloseIdleConnections() })
	b, _ := o.Ledger.(*bank)
	c := &caller{TB: t, url: s.URL, bank: b, seen: &sync.Map{}}
	_, text := c.send("GET", "/openapi.json", nil, "")
	c.doc = parseDocument(t, []byte(text))
	return c
}

// headers of a request, as pairs.
type headers map[string]string

func (c *caller) send(method, path string, h headers, body string) (*http.Response, string) {
	c.Helper()
	req, err := http.NewRequestWithContext(c.Context(), method, c.url+path, strings.NewReader(body))
	require.NoError(c, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range h {
		req.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(c, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(c, err)
	if named := transferred.FindSubmatch(text); method == "POST" && named != nil {
		c.seen.Store(string(named[2]), string(named[1]))
	}
	return res, string(text)
}

var transferred = regexp.MustCompile(`^\{"transfer":"(([0-9]+):[0-9]+)"`)

// do sends a request, wants the status, and returns the body's object. The answer has
// to be one that the document has for it.
func (c *caller) do(status int, method, path string, h headers, body string) map[string]any {
	c.Helper()
	res, text := c.send(method, path, h, body)
	require.Equal(c, status, res.StatusCode, "%s %s %s: %s", method, path, body, text)
	if status < 300 && body != "" {
		c.asked(method, path, body)
	}
	return c.documented(res, method, path, text)
}

// asked holds the body of a request that was carried out against the document.
func (c *caller) asked(method, path, body string) {
	c.Helper()
	require.NoError(c, c.doc.validate(c.doc.operation(method, path)+"/requestBody/content/application~1json/schema", parse(c, body)), body)
}

// parse reads JSON with its numbers as they are written.
func parse(t testing.TB, text string) (v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	require.NoError(t, d.Decode(&v), text)
	return v
}

func (c *caller) documented(res *http.Response, method, path, text string) map[string]any {
	c.Helper()
	bare, _, _ := strings.Cut(path, "?")
	op := c.doc.operation(method, bare)
	require.NotEmpty(c, op, "the document does not have %s %s", method, bare)
	at := op + "/responses/" + strconv.Itoa(res.StatusCode)
	c.doc.met[at] = true
	where, answer := c.doc.resolve(at)
	require.NotNil(c, answer, "the document does not have an answer %d to %s %s: %s", res.StatusCode, method, bare, text)
	documented, _ := answer["headers"].(map[string]any)
	for name := range documented {
		pointer, header := c.doc.resolve(where + "/headers/" + name)
		value := res.Header.Get(name)
		if value == "" {
			require.NotEqual(c, true, header["required"], "header %s", name)
			continue
		}
		require.NoError(c, c.doc.validate(pointer+"/schema", value), "header %s", name)
	}
	kind, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	schema := where + "/content/" + escape(kind) + "/schema"
	require.NotNil(c, c.doc.at(schema), "%s %s answers %d with %s", method, bare, res.StatusCode, kind)
	if !strings.HasSuffix(kind, "json") {
		return nil
	}
	v := parse(c, text)
	require.NoError(c, c.doc.validate(schema, v), text)
	return v.(map[string]any)
}
