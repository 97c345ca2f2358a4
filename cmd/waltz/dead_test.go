package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/waltz"
)

var note = waltz.Kind[string]{Header: 3, Name: "note", Codec: waltz.JSON[string]()}

// notebook is a view of which the column is too narrow, until it is widened.
type notebook struct {
	*testing.T
	db    string
	log   *appliertest.Log
	view  *sqlite.View
	wide  atomic.Bool
	stop  context.CancelFunc
	ended chan error
}

func newNotebook(t *testing.T, texts ...string) *notebook {
	n := &notebook{T: t, db: "sqlite://" + filepath.Join(t.TempDir(), "view.db"), log: appliertest.NewLog("log", 2)}
	for _, text := range texts {
		tx := waltz.Transaction{Key: "key of " + text}
		require.NoError(t, note.Put(&tx, text))
		n.log.Append(1, tx)
	}
	pool, err := sqlite.OpenDB(n.db)
	require.NoError(t, err)
	_, err = pool.Exec("CREATE TABLE notes (text TEXT NOT NULL) STRICT")
	require.NoError(t, err)
	require.NoError(t, pool.Close())
	o := applier.Options{Name: "notes", Policy: applier.QuarantineKey, LettersEvery: 10 * time.Millisecond}
	n.view, err = sqlite.OpenLog(t.Context(), n.log, n.db, o, applier.Keyed(applier.On(note, n.apply), func(r waltz.Record[string]) []string { return []string{r.Value[:1]} }))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.view.Close()) })
	n.start()
	require.NoError(t, n.view.WaitFor(t.Context(), 1, waltz.ID(len(texts)-1)))
	return n
}

func (n *notebook) apply(ctx context.Context, tx sqlite.Tx, r waltz.Record[string]) error {
	var text any = r.Value
	if len(r.Value) > 10 && !n.wide.Load() {
		text = nil // which the column refuses
	}
	_, err := tx.Exec(ctx, "INSERT INTO notes VALUES (?)", text)
	return err
}

func (n *notebook) start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.ended = make(chan error, 1)
	go func() { n.ended <- n.view.Run(ctx) }()
	n.stop = func() {
		cancel()
		require.NoError(n, <-n.ended)
	}
}

// dead runs waltz dead and returns what it printed.
func (n *notebook) dead(args ...string) (string, error) {
	n.Helper()
	var out bytes.Buffer
	err := run(n.Context(), append([]string{"dead", args[0], "--db", n.db}, args[1:]...), strings.NewReader(""), &out, &out)
	return out.String(), err
}

// deadJSON wants success, and returns the object.
func (n *notebook) deadJSON(args ...string) (object map[string]any) {
	n.Helper()
	out, err := n.dead(append(args, "--output", "json")...)
	require.NoError(n, err)
	require.NoError(n, json.Unmarshal([]byte(out), &object), out)
	return object
}

func TestDeadLettersAreOperated(t *testing.T) {
	n := newNotebook(t, "a short", "b much too long", "b2", "a longer than it may", "c", "a2")
	defer func() { n.stop() }()
	list := n.deadJSON("list")
	require.Len(t, list["views"], 2)
	require.Equal(t, map[string]any{
		"view": "notes", "version": 1.0, "partition": 1.0, "high_water_mark": 5.0, "dead": 4.0, "held": 2.0, "skipped": 0.0, "incomplete_since": 1.0,
	}, list["views"].([]any)[1])
	require.Nil(t, list["views"].([]any)[0].(map[string]any)["incomplete_since"])
	letters := list["letters"].([]any)
	require.Len(t, letters, 4)
	first := letters[0].(map[string]any)
	require.Equal(t, []any{"dead", 1.0, "note", `["b"]`, "SQLITE_CONSTRAINT_NOTNULL", "key of b much too long", 17.0},
		[]any{first["state"], first["transaction_id"], first["kind"], first["view_keys"], first["code"], first["key"], first["data_bytes"]})
	require.NotContains(t, first, "data")
	require.Equal(t, true, n.deadJSON("list", "--limit", "2")["more"])
	out, err := n.dead("list")
	require.NoError(t, err)
	require.Contains(t, out, "incomplete since transaction 1: 4 dead letters, 2 of them held")
	require.Contains(t, out, "partition 0 at -1  complete")

	shown := n.deadJSON("show", "--partition", "1", "--id", "3")
	require.Equal(t, `"a longer than it may"`, shown["data"])
	require.Contains(t, shown["error"], "NOT NULL")
	out, err = n.dead("show", "--partition", "1", "--id", "3")
	require.NoError(t, err)
	require.Contains(t, out, `data         "a longer than it may"`)

	out, err = n.dead("retry", "--wait", "30s")
	require.ErrorContains(t, err, "2 of 2 could not be applied", out)
	n.wide.Store(true)
	require.Equal(t, map[string]any{"asked": 1.0, "waited": true, "applied": 1.0, "failed": 0.0, "waiting": 0.0},
		n.deadJSON("retry", "--partition", "1", "--id", "1", "--wait", "30s"))
	require.Len(t, n.deadJSON("list")["letters"], 2)

	n.stop()
	require.Equal(t, map[string]any{"transaction_id": 3.0, "discarded": true, "reason": "of no interest"},
		n.deadJSON("discard", "--view", "notes", "--version", "1", "--partition", "1", "--id", "3", "--reason", "of no interest"))
	_, err = n.dead("discard", "--partition", "1", "--id", "3", "--reason", "again")
	require.ErrorContains(t, err, "no dead letter 3")
	n.start() // what was held behind it is applied
	require.Eventually(t, func() bool { return n.view.Status()[1].Dead == 0 }, 30*time.Second, time.Millisecond)
	require.Empty(t, n.deadJSON("list")["letters"])
	kept := n.deadJSON("list", "--discarded")["letters"].([]any)
	require.Len(t, kept, 1)
	require.Equal(t, "of no interest", kept[0].(map[string]any)["reason"])
	require.Equal(t, whoami(), kept[0].(map[string]any)["changed_by"])
	require.Equal(t, 0.0, n.deadJSON("retry")["asked"])
}

func TestDeadUsage(t *testing.T) {
	n := newNotebook(t, "a short")
	n.stop()
	for text, args := range map[string][]string{
		"needs --reason":                  {"discard", "--id", "1"},
		"--id means one transaction":      {"discard", "--id", "1", "--reason", "x"},
		"has no such view":                {"list", "--view", "other"},
		"no such view or partition":       {"retry", "--partition", "9"},
		"no dead letter 7":                {"show", "--partition", "1", "--id", "7"},
		"no dead letter 8 in partition 1": {"retry", "--partition", "1", "--id", "8"},
		"--limit 0":                       {"list", "--limit", "0"},
		"there are 2 partitions of views": {"retry", "--id", "0"},
	} {
		_, err := n.dead(args...)
		require.ErrorContains(t, err, text)
	}
	for addr, text := range map[string]string{
		"sqlite:///no/such/file.db":   "no such file",
		"mysql://app:secret@host/app": "mysql://app:xxx@host/app",
		"nosql://host":                "unknown scheme",
		"sqlite://relative":           "sqlite:///relative",
	} {
		err := run(t.Context(), []string{"dead", "list", "--db", addr}, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
		require.ErrorContains(t, err, text)
		require.NotContains(t, err.Error(), "secret")
	}
}
