package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

var (
	mariaDB = server{mariaDB: true, major: 10, minor: 11}
	mySQL   = server{major: 8, minor: 0, patch: 36}
)

// queries are the statements of a set.
func queries(t *testing.T, s *Set) (out []string) {
	t.Helper()
	require.NoError(t, s.each(func(query string, _ int) error { out = append(out, query); return nil }))
	return out
}

func newSet(s shape, max int, rows ...[]any) *Set {
	set := &Set{shape: s, max: max}
	for _, r := range rows {
		set.Add(r...)
	}
	return set
}

// What each server gets, to the letter.
func TestSetsAsSQL(t *testing.T) {
	insert := Insert{Table: "entries", Columns: []string{"part", "memo"}}.For(&Tx{handle{facts: facts{packet: 1 << 20}}})
	insert.Add(1, "b")
	insert.Add(0, "it's")
	require.Equal(t, []string{"INSERT INTO `entries` (`part`, `memo`) VALUES (1,'b'),(0,'it\\'s')"}, queries(t, insert))

	rows := [][]any{{2, "x", 5, "new"}, {10, "y", 1, "new"}, {2, "z", -7, "newer"}}
	upsert := Upsert{Table: "shop.stock", Key: []string{"id"}, Put: []string{"name"}, Add: []string{"n"}, Keep: []string{"first"}}
	keep := Upsert{Table: "waltz_keys", Key: []string{"number", "k"}, Keep: []string{"id"}}
	update := Update{Table: "stock", Key: []string{"id"}, Put: []string{"name"}, Add: []string{"n"}}
	remove := Delete{Table: "stock", Key: []string{"shop", "id"}}
	for _, c := range []struct {
		server server
		set    *Set
		want   string
	}{
		{mariaDB, newSet(upsert.shape(mariaDB), 1<<20, rows...), "INSERT INTO `shop`.`stock` (`id`, `name`, `n`, `first`) VALUES (2,'z',-2,'new'),(10,'y',1,'new')" +
			" ON DUPLICATE KEY UPDATE `name` = VALUES(`name`), `n` = `shop`.`stock`.`n` + VALUES(`n`)"},
		{mySQL, newSet(upsert.shape(mySQL), 1<<20, rows...), "INSERT INTO `shop`.`stock` (`id`, `name`, `n`, `first`) VALUES (2,'z',-2,'new'),(10,'y',1,'new')" +
			" AS new ON DUPLICATE KEY UPDATE `name` = new.`name`, `n` = `shop`.`stock`.`n` + new.`n`"},
		{mariaDB, newSet(keep.shape(mariaDB), 1<<20, []any{1, []byte{255}, 3}), "INSERT INTO `waltz_keys` (`number`, `k`, `id`) VALUES (1,_binary'\xff',3) ON DUPLICATE KEY UPDATE `number` = `waltz_keys`.`number`"},
		{mySQL, newSet(keep.shape(mySQL), 1<<20, []any{1, []byte("k"), 3}), "INSERT INTO `waltz_keys` (`number`, `k`, `id`) VALUES (1,_binary'k',3) AS new ON DUPLICATE KEY UPDATE `number` = `waltz_keys`.`number`"},
		{mariaDB, newSet(update.shape(mariaDB), 1<<20, []any{2, "a", 1}, []any{1, "b", 2}), "UPDATE (SELECT 0 AS k0, NULL AS p0, 0 AS a0 FROM DUAL WHERE false UNION ALL VALUES (1,'b',2),(2,'a',1)) AS n" +
			" STRAIGHT_JOIN `stock` AS t ON t.`id` = n.k0 SET t.`name` = n.p0, t.`n` = t.`n` + n.a0"},
		{mySQL, newSet(update.shape(mySQL), 1<<20, []any{2, "a", 1}, []any{1, "b", 2}), "UPDATE (SELECT 0 AS k0, NULL AS p0, 0 AS a0 FROM DUAL WHERE false UNION ALL VALUES ROW(1,'b',2),ROW(2,'a',1)) AS n" +
			" STRAIGHT_JOIN `stock` AS t ON t.`id` = n.k0 SET t.`name` = n.p0, t.`n` = t.`n` + n.a0"},
		{mariaDB, newSet(remove.shape(mariaDB), 1<<20, []any{2, 1}, []any{1, 9}, []any{2, 1}), "DELETE t FROM (SELECT 0 AS k0, 0 AS k1 FROM DUAL WHERE false UNION ALL VALUES (1,9),(2,1)) AS n" +
			" STRAIGHT_JOIN `stock` AS t ON t.`shop` = n.k0 AND t.`id` = n.k1"},
		{mySQL, newSet(remove.shape(mySQL), 1<<20, []any{2, 1}), "DELETE t FROM (SELECT 0 AS k0, 0 AS k1 FROM DUAL WHERE false UNION ALL VALUES ROW(2,1)) AS n" +
			" STRAIGHT_JOIN `stock` AS t ON t.`shop` = n.k0 AND t.`id` = n.k1"},
	} {
		require.Equal(t, []string{c.want}, queries(t, c.set), c.server.String())
	}
}

func TestMistakesInSets(t *testing.T) {
	upsert := Upsert{Table: "t", Key: []string{"id"}, Add: []string{"n"}}.shape(mariaDB)
	update := Update{Table: "t", Key: []string{"id"}, Add: []string{"n"}}.shape(mariaDB)
	for want, set := range map[string]*Set{
		"has 1 values, want 2":            newSet(upsert, 1000, []any{1}),
		"adds a string: want an integer":  newSet(upsert, 1000, []any{1, "2"}),
		"adds a uint64":                   newSet(upsert, 1000, []any{1, uint64(math.MaxUint64)}),
		"has a string as its key":         newSet(update, 1000, []any{"1", 2}),
		"a chan int can't be a value":     newSet(upsert, 1000, []any{make(chan int), 2}),
		"infinity and NaN":                newSet(upsert, 1000, []any{math.Inf(1), 2}),
		"year 12000":                      newSet(upsert, 1000, []any{time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC), 2}),
		"larger than the server's max":    newSet(upsert, 1000, []any{1, 1}, []any{strings.Repeat("x", 1000), 2}),
		"a map[string]int can't be a val": newSet(upsert, 1000, []any{map[string]int{}, 2}),
		"a driver.Valuer that says no":    newSet(upsert, 1000, []any{refuses{}, 2}),
		"is another driver.Valuer":        newSet(upsert, 1000, []any{nested{}, 2}),
	} {
		require.ErrorContains(t, set.each(func(string, int) error { return nil }), want)
	}
}

type refuses struct{}

func (refuses) Value() (driver.Value, error) { return nil, errors.New("a driver.Valuer that says no") }

type nested struct{}

func (nested) Value() (driver.Value, error) { return nested{}, nil }

// A set never makes a statement that is too large, and loses no row when it splits.
func TestSetsSplit(t *testing.T) {
	shape := Upsert{Table: "t", Key: []string{"id"}, Put: []string{"s"}}.shape(mariaDB)
	rapid.Check(t, func(rt *rapid.T) {
		max := rapid.IntRange(130, 400).Draw(rt, "max")
		n := rapid.IntRange(0, 100).Draw(rt, "rows")
		set := &Set{shape: shape, max: max}
		for i := range n {
			set.Add(i, strings.Repeat("x", rapid.IntRange(0, 40).Draw(rt, "length")))
		}
		rows := 0
		require.NoError(rt, set.each(func(query string, in int) error {
			require.LessOrEqual(rt, len(query), max)
			require.Equal(rt, in, strings.Count(query, "('")+strings.Count(query, ",'"))
			rows += in
			return nil
		}))
		require.Equal(rt, n, rows)
	})
}

// sets is a database with a table for sets.
type sets struct {
	db *sql.DB
	d  *database
	r  applier.Row
}

func newSets(t *testing.T, url string) *sets {
	s := &sets{db: migrated(t, url)}
	_, err := s.db.Exec("CREATE TABLE stock (id bigint PRIMARY KEY, name varchar(50) NOT NULL, n bigint NOT NULL, first varchar(50) NOT NULL)")
	require.NoError(t, err)
	s.d, err = open(t.Context(), url, applier.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.d.Close()) })
	rows, err := s.d.Load(t.Context(), applier.Identity{Name: "sets", Version: 1, LogID: "log"}, 1)
	require.NoError(t, err)
	s.r = rows[0]
	return s
}

// apply does one step.
func (s *sets) apply(ctx context.Context, work func(ctx context.Context, tx *Tx) error) error {
	step := &applier.Step[*Tx]{Ref: s.r.Ref, Old: s.r.HighWaterMark, New: s.r.HighWaterMark + 1, Work: work}
	err := s.d.Apply(ctx, step)
	if err == nil {
		s.r.HighWaterMark++
	}
	return err
}

type stockRow struct {
	name, first string
	n           int64
}

func (s *sets) stock(t require.TestingT) map[int64]stockRow {
	rows, err := s.db.Query("SELECT id, name, n, first FROM stock")
	require.NoError(t, err)
	defer rows.Close()
	out := make(map[int64]stockRow)
	for rows.Next() {
		var id int64
		var r stockRow
		require.NoError(t, rows.Scan(&id, &r.name, &r.n, &r.first))
		out[id] = r
	}
	require.NoError(t, rows.Err())
	return out
}

var (
	stockUpsert = Upsert{Table: "stock", Key: []string{"id"}, Put: []string{"name"}, Add: []string{"n"}, Keep: []string{"first"}}
	stockUpdate = Update{Table: "stock", Key: []string{"id"}, Put: []string{"name"}, Add: []string{"n"}}
	stockDelete = Delete{Table: "stock", Key: []string{"id"}}
)

// Sets against a naive twin that does one row after the other, in small statements.
func TestSetsAreExact(t *testing.T) {
	setsAreExact(t, servers.MariaDB(t).NewDatabase(t))
}

// The same on another server, if one is named.
func TestSetsOnNamedServer(t *testing.T) {
	if named := os.Getenv(serverURL); named != "" {
		setsAreExact(t, newDatabaseAt(t, named))
	}
}

func setsAreExact(t *testing.T, url string) {
	s := newSets(t, url)
	texts := rapid.SampledFrom([]string{"", "a", "it's", "\\", "\x00\n\r\x1a\"", "日本語😀", "--", "');DROP TABLE stock", "%?"})
	model := make(map[int64]stockRow)
	rapid.Check(t, func(rt *rapid.T) {
		kind := rapid.SampledFrom([]string{"upsert", "update", "delete"}).Draw(rt, "kind")
		missing := false
		next := make(map[int64]stockRow)
		for id, r := range model {
			next[id] = r
		}
		err := s.apply(t.Context(), func(ctx context.Context, tx *Tx) error {
			set := map[string]*Set{"upsert": stockUpsert.For(tx), "update": stockUpdate.For(tx), "delete": stockDelete.For(tx)}[kind]
			set.max = rapid.IntRange(400, 2000).Draw(rt, "max")
			for range rapid.IntRange(0, 60).Draw(rt, "rows") {
				id, name, n := rapid.Int64Range(-9, 9).Draw(rt, "id"), texts.Draw(rt, "name"), rapid.Int64Range(-100, 100).Draw(rt, "n")
				r, has := next[id]
				r.name, r.n = name, r.n+n
				switch kind {
				case "upsert":
					first := texts.Draw(rt, "first")
					set.Add(id, name, n, first)
					if !has {
						r.first = first
					}
					next[id] = r
				case "update":
					set.Add(id, name, n)
					missing = missing || !has
					next[id] = r
				case "delete":
					set.Add(id)
					delete(next, id)
				}
			}
			return set.Exec(ctx)
		})
		if missing {
			e, is := errors.AsType[*MissingRowsError](err)
			require.True(rt, is, "%v", err)
			require.Equal(rt, "stock", e.Table)
		} else {
			require.NoError(rt, err)
			model = next
		}
		require.Equal(rt, model, s.stock(rt))
	})
}

// A transaction whose rows pass max_allowed_packet is split inside one SQL transaction,
// and atomic all the same (F27).
func TestLargerThanAPacket(t *testing.T) {
	s := newSets(t, servers.MariaDB(t).NewDatabase(t))
	require.Equal(t, 16<<20, s.d.packet)
	const rows, length = 100_000, 200
	_, err := s.db.Exec("CREATE TABLE wide (id bigint PRIMARY KEY, s varchar(500) NOT NULL)")
	require.NoError(t, err)
	statements := 0
	fill := func(last string) error {
		return s.apply(t.Context(), func(ctx context.Context, tx *Tx) error {
			statements = 0
			tx.reached = func(applier.Stage) { statements++ }
			set := Insert{Table: "wide", Columns: []string{"id", "s"}}.For(tx)
			for i := range rows {
				set.Add(i, strings.Repeat("x", length))
			}
			set.Add(rows, last)
			return set.Exec(ctx)
		})
	}
	err = fill(strings.Repeat("x", 501))
	f, _ := s.d.Fault(err)
	require.Equal(t, "1406 ER_DATA_TOO_LONG", f.Code)
	require.Equal(t, 1, statements, "the first of two was done")
	var n int
	require.NoError(t, s.db.QueryRow("SELECT count(*) FROM wide").Scan(&n))
	require.Zero(t, n)

	require.NoError(t, fill("last"))
	require.Equal(t, 2, statements)
	require.NoError(t, s.db.QueryRow("SELECT count(*) FROM wide").Scan(&n))
	require.Equal(t, rows+1, n)

	// What a handler writes itself can't be split: it is due to the data, so that a
	// smaller batch is tried.
	err = s.apply(t.Context(), func(ctx context.Context, tx *Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO wide VALUES (-1, ?)", strings.Repeat("x", 17<<20))
		return err
	})
	f, _ = s.d.Fault(err)
	require.Equal(t, applier.ClassData, f.Class, "%v", err)
	args := make([]any, 70_000)
	err = s.apply(t.Context(), func(ctx context.Context, tx *Tx) error {
		for i := range args {
			args[i] = strings.Repeat("x", length)
		}
		args[0] = strings.Repeat("x", 15<<20)
		_, err := tx.Exec(ctx, "INSERT INTO wide VALUES (-1, concat(''"+strings.Repeat(", ?", len(args))+"))", args...)
		return err
	})
	f, _ = s.d.Fault(err)
	require.Equal(t, applier.ClassData, f.Class, "%v", err)
	require.NoError(t, s.apply(t.Context(), func(context.Context, *Tx) error { return nil }))
}

// Values come back as they were, whatever is in them.
func TestLiterals(t *testing.T) {
	s := newSets(t, servers.MariaDB(t).NewDatabase(t))
	_, err := s.db.Exec("CREATE TABLE v (id int PRIMARY KEY, i bigint, u bigint unsigned, f double, s varchar(1000), b varbinary(1000), d datetime(6), j json, ok boolean)")
	require.NoError(t, err)
	type id int32
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	when := time.Date(2026, 3, 1, 12, 30, 0, 123456789, time.FixedZone("", 3600))
	text := "\x00\t\n\r\x1a'\"\\%_日本語😀 /* -- # ; ?"
	var nothing *int64
	var nobody *sql.NullInt64
	seven := int64(7)
	require.NoError(t, s.apply(t.Context(), func(ctx context.Context, tx *Tx) error {
		set := Insert{Table: "v", Columns: []string{"id", "i", "u", "f", "s", "b", "d", "j", "ok"}}.For(tx)
		set.Add(id(1), int64(math.MinInt64), uint64(math.MaxUint64), 0.1, text, all, when, json.RawMessage(`{"a": "it's"}`), true)
		set.Add(uint8(2), nil, nothing, float32(0.5), sql.NullString{}, []byte(nil), nobody, nil, false)
		set.Add(id(3), &seven, sql.Null[int64]{V: 9, Valid: true}, 1e300, waltz.Header(5), "", time.Unix(0, 0), nil, nil)
		if err := set.Exec(ctx); err != nil {
			return err
		}
		var gotI int64
		var u uint64
		var f float64
		var str, j string
		var b []byte
		var d time.Time
		var ok bool
		require.NoError(t, tx.QueryRow(ctx, "SELECT i, u, f, s, b, d, j, ok FROM v WHERE id = 1").Scan(&gotI, &u, &f, &str, &b, &d, &j, &ok))
		require.Equal(t, []any{int64(math.MinInt64), uint64(math.MaxUint64), 0.1, text, all, `{"a": "it's"}`, true}, []any{gotI, u, f, str, b, j, ok})
		require.True(t, when.Truncate(time.Microsecond).Equal(d), "%s", d)
		var nulls int
		require.NoError(t, tx.QueryRow(ctx, "SELECT isnull(i) + isnull(u) + isnull(s) + isnull(b) + isnull(d) + isnull(j) FROM v WHERE id = 2").Scan(&nulls))
		require.Equal(t, 6, nulls)
		require.NoError(t, tx.QueryRow(ctx, "SELECT i, u, f, s FROM v WHERE id = 3").Scan(&gotI, &u, &f, &str))
		require.Equal(t, []any{int64(7), uint64(9), 1e300, "5"}, []any{gotI, u, f, str})
		return nil
	}))
}

// No text ends its quotes before its end, and it can be read back.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "a", "'", "\\", "\\'", "'; DROP TABLE x; --", "\x00\x1a\r\n", "日本語", "\xff"} {
		f.Add(seed)
	}
	unescape := map[byte]byte{'0': 0, 'n': '\n', 'r': '\r', 'Z': 0x1a, '\'': '\'', '"': '"', '\\': '\\'}
	f.Fuzz(func(t *testing.T, s string) {
		got := string(appendText(nil, s))
		require.True(t, len(got) >= 2 && got[0] == '\'' && got[len(got)-1] == '\'')
		var back []byte
		for in := got[1 : len(got)-1]; in != ""; in = in[1:] {
			require.NotEqual(t, byte('\''), in[0], "%q", got)
			if in[0] != '\\' {
				back = append(back, in[0])
				continue
			}
			in = in[1:]
			c, known := unescape[in[0]]
			require.True(t, known, "%q", got)
			back = append(back, c)
		}
		require.Equal(t, s, string(back))
	})
}

// F26: eight partitions add to fifty rows that they share, each in an order of its
// own: sets lock them in one order, so there is no deadlock.
func TestPartitionsShareRowsWithoutDeadlocks(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	_, err := db.Exec("CREATE TABLE summary (id varchar(20) PRIMARY KEY, n bigint NOT NULL)")
	require.NoError(t, err)
	const partitions, transactions, rows = 8, 1500, 50
	log := appliertest.NewLog("shared", partitions)
	rng := rand.New(rand.NewPCG(1, 2))
	want := make(map[string]int64)
	for p := range partitions {
		for range transactions {
			h := hit{Row: rng.Int64N(rows), Add: rng.Int64N(100)}
			want[fmt.Sprintf("row-%d", h.Row)] += h.Add
			tx := waltz.Transaction{}
			require.NoError(t, hitKind.Put(&tx, h))
			log.Append(waltz.Partition(p), tx)
		}
	}
	summary := Upsert{Table: "summary", Key: []string{"id"}, Add: []string{"n"}}
	v := run(t, log, url, applier.Options{BatchTransactionsMax: 60}, applier.OnBatch(hitKind, func(ctx context.Context, tx *Tx, rs []waltz.Record[hit]) error {
		set := summary.For(tx)
		for _, r := range rs {
			set.Add(fmt.Sprintf("row-%d", r.Value.Row), r.Value.Add)
		}
		return set.Exec(ctx)
	}))
	for p := range partitions {
		v.wait(waltz.Partition(p), transactions-1)
	}
	for _, s := range v.Status() {
		require.Zero(t, s.Retries, "%+v", s)
	}
	got := make(map[string]int64)
	found, err := db.Query("SELECT id, n FROM summary")
	require.NoError(t, err)
	defer found.Close()
	for found.Next() {
		var id string
		var n int64
		require.NoError(t, found.Scan(&id, &n))
		got[id] = n
	}
	require.NoError(t, found.Err())
	require.Equal(t, want, got)
}
