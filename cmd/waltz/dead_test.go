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
	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/applier/sqlite"
	"github.com/waltz-log/waltz/waltz"
)

var note = waltz.Kind[string]{Header: 3, Name: "note", Codec: waltz.JSON[string]()}

// notebook is a view of which the column is too narrow, until it is widened.
type notebook struct {
	*testing.T
	db   string
	log  *appliertest.Log
	view view
	wide atomic.Bool
	stop func()
}

// view is an applier on any database.
type view interface {
	Run(ctx context.Context) error
	WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error
	Status() []applier.PartitionStatus
	Close() error
}

// opener opens a view with one handler, which runs its statement for each note.
type opener func(t *testing.T, db string, log applier.Log, o applier.Options, args func(r waltz.Record[string]) any) (view, error)

const insertNote = "INSERT INTO notes VALUES "

// opened makes an opener of what a database's package offers.
func opened[Tx, S any](
	open func(ctx context.Context, log applier.Log, db string, o applier.Options, handlers ...applier.Handler[Tx]) (*applier.Applier[Tx, S], error),
	insert func(ctx context.Context, tx Tx, arg any) error,
) opener {
	return func(t *testing.T, db string, log applier.Log, o applier.Options, arg func(waltz.Record[string]) any) (view, error) {
		h := applier.On(note, func(ctx context.Context, tx Tx, r waltz.Record[string]) error { return insert(ctx, tx, arg(r)) })
		return open(t.Context(), log, db, o, applier.Keyed(h, func(r waltz.Record[string]) []string { return []string{r.Value[:1]} }))
	}
}

var onSQLite = opened(sqlite.OpenLog, func(ctx context.Context, tx sqlite.Tx, arg any) error {
	_, err := tx.Exec(ctx, insertNote+"(?)", arg)
	return err
})

var onPostgres = opened(postgres.OpenLog, func(ctx context.Context, tx *postgres.Tx, arg any) error {
	_, err := tx.Exec(ctx, insertNote+"($1)", arg)
	return err
})

var onMySQL = opened(mysql.OpenLog, func(ctx context.Context, tx *mysql.Tx, arg any) error {
	_, err := tx.Exec(ctx, insertNote+"(?)", arg)
	return err
})

func sqliteFile(t *testing.T) string { return "sqlite://" + filepath.Join(t.TempDir(), "view.db") }

func newNotebook(t *testing.T, db string, open opener, texts ...string) *notebook {
	n := &notebook{T: t, db: db, log: appliertest.NewLog("log", 2)}
	for _, text := range texts {
		tx := waltz.Transaction{Key: "key of " + text}
		require.NoError(t, note.Put(&tx, text))
		n.log.Append(1, tx)
	}
	pool, _, err := openDB(n.db)
	require.NoError(t, err)
	_, err = pool.Exec("CREATE TABLE notes (text varchar(100) NOT NULL)")
	require.NoError(t, err)
	require.NoError(t, pool.Close())
	o := applier.Options{Name: "notes", Policy: applier.QuarantineKey, LettersEvery: 10 * time.Millisecond}
	n.view, err = open(t, n.db, n.log, o, n.text)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.view.Close()) })
	n.start()
	require.NoError(t, n.view.WaitFor(t.Context(), 1, waltz.ID(len(texts)-1)))
	return n
}

func (n *notebook) text(r waltz.Record[string]) any {
	if len(r.Value) > 10 && !n.wide.Load() {
		return nil // which the column refuses
	}
	return r.Value
}

func (n *notebook) start() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.view.Run(ctx) }()
	n.stop = func() {
		cancel()
		require.NoError(n, <-ended)
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
	for name, db := range map[string]struct {
		url  func(*testing.T) string
		open opener
		code string
	}{
		"sqlite":   {sqliteFile, onSQLite, "SQLITE_CONSTRAINT_NOTNULL"},
		"postgres": {func(t *testing.T) string { return servers.PostgreSQL(t).NewDatabase(t) }, onPostgres, "23502"},
		"mysql":    {func(t *testing.T) string { return servers.MariaDB(t).NewDatabase(t) }, onMySQL, "1048 ER_BAD_NULL_ERROR"},
	} {
		t.Run(name, func(t *testing.T) { operated(t, db.url(t), db.open, db.code) })
	}
}

func operated(t *testing.T, db string, open opener, code string) {
	n := newNotebook(t, db, open, "a short", "b much too long", "b2", "a longer than it may", "c", "a2")
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
	require.Equal(t, []any{"dead", 1.0, "note", `["b"]`, code, "key of b much too long", 17.0},
		[]any{first["state"], first["transaction_id"], first["kind"], first["view_keys"], first["code"], first["key"], first["data_bytes"]})
	require.NotContains(t, first, "data")
	require.Equal(t, true, n.deadJSON("list", "--limit", "2")["more"])
	out, err := n.dead("list")
	require.NoError(t, err)
	require.Contains(t, out, "incomplete since transaction 1: 4 dead letters, 2 of them held")
	require.Contains(t, out, "partition 0 at -1  complete")

	shown := n.deadJSON("show", "--partition", "1", "--id", "3")
	require.Equal(t, `"a longer than it may"`, shown["data"])
	require.NotEmpty(t, shown["error"])
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
	require.ErrorContains(t, err, "was discarded by "+whoami()+" (of no interest): that is for good")
	_, err = n.dead("retry", "--partition", "1", "--id", "3")
	require.ErrorContains(t, err, "was discarded by")
	n.start() // what was held behind it is applied
	require.Eventually(t, func() bool { return n.view.Status()[1].Dead == 0 }, 30*time.Second, time.Millisecond)
	require.Empty(t, n.deadJSON("list")["letters"])
	kept := n.deadJSON("list", "--discarded")["letters"].([]any)
	require.Len(t, kept, 1)
	require.Equal(t, "of no interest", kept[0].(map[string]any)["reason"])
	require.Equal(t, whoami(), kept[0].(map[string]any)["changed_by"])
	require.Equal(t, 0.0, n.deadJSON("retry")["asked"])
}

// Only what would help is asked for.
func TestFlagsThatTellRowsApart(t *testing.T) {
	row := func(name string, version int, p waltz.Partition) applier.Row {
		return applier.Row{Ref: applier.Ref{Identity: applier.Identity{Name: name, Version: version}, Partition: p}}
	}
	for want, rows := range map[string][]applier.Row{
		"say which with --view":                   {row("a", 1, 0), row("b", 1, 0)},
		"say which with --version":                {row("a", 1, 0), row("a", 2, 0)},
		"say which with --view and --partition":   {row("a", 1, 0), row("b", 1, 1)},
		"the database has no view; waltz dead li": {},
	} {
		_, err := theOne(rows)
		require.ErrorContains(t, err, want)
	}
	one, err := theOne([]applier.Row{row("a", 1, 3)})
	require.NoError(t, err)
	require.Equal(t, waltz.Partition(3), one.Partition)
}

func TestDeadUsage(t *testing.T) {
	n := newNotebook(t, sqliteFile(t), onSQLite, "a short")
	n.stop()
	for text, args := range map[string][]string{
		"needs --reason":                  {"discard", "--id", "1"},
		"say which with --partition":      {"discard", "--id", "1", "--reason", "x"},
		"needs --id":                      {"show"},
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
		"sqlite:///no/such/file.db":             "no such database: /no/such/file.db",
		"mysql://app:secret@127.0.0.1:1/app":    "refused",
		"postgres://app:secret@127.0.0.1:1/app": "refused",
		"mysql://app:secret@host":               "want mysql://user:password@host:port/database",
		"nosql://host":                          "has an unknown scheme: want sqlite://",
		"sqlite://relative":                     "sqlite:///relative",
	} {
		err := run(t.Context(), []string{"dead", "list", "--db", addr}, strings.NewReader(""), &bytes.Buffer{}, &bytes.Buffer{})
		require.ErrorContains(t, err, text)
		require.NotContains(t, err.Error(), "secret")
	}
}
