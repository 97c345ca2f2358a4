package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/waltz"
)

// The work of the tests that break something: each transaction is a row of its
// own, and adds to a row that all partitions share.
type hit struct{ Row, Add int64 }

var hitKind = waltz.Kind[hit]{Header: 1, Name: "hit", Codec: waltz.JSON[hit]()}

const sumRows = 5

// appendHits makes transactions from..to-1 of a partition the same in every process.
func appendHits(log *appliertest.Log, p waltz.Partition, from, to int) {
	for i := from; i < to; i++ {
		tx := waltz.Transaction{Key: fmt.Sprintf("key-%d", i)}
		if err := hitKind.Put(&tx, hit{Row: int64(i % sumRows), Add: int64(i)}); err != nil {
			panic(err)
		}
		log.Append(p, tx)
	}
}

func hitLog(partitions, transactions int) *appliertest.Log {
	log := appliertest.NewLog("hits", partitions)
	for p := range partitions {
		appendHits(log, waltz.Partition(p), 0, transactions)
	}
	return log
}

func hitTables(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, query := range []string{
		"CREATE TABLE hits (part int, id bigint, PRIMARY KEY (part, id))",
		"CREATE TABLE sums (row_number_ int PRIMARY KEY, sum bigint NOT NULL)",
		"INSERT INTO sums VALUES (0, 0), (1, 0), (2, 0), (3, 0), (4, 0)",
	} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
}

func applyHit(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
	if _, err := tx.Exec(ctx, "INSERT INTO hits VALUES (?, ?)", int(r.Partition), int64(r.ID)); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, "UPDATE sums SET sum = sum + ? WHERE row_number_ = ?", r.Value.Add, r.Value.Row)
	return err
}

// forgetHits sets the view back to nothing.
func forgetHits(t *testing.T, db *sql.DB) {
	t.Helper()
	for _, query := range []string{"UPDATE waltz_high_water_marks SET high_water_mark = -1, epoch = epoch + 1", "DELETE FROM waltz_keys", "DELETE FROM hits", "UPDATE sums SET sum = 0"} {
		_, err := db.Exec(query)
		require.NoError(t, err)
	}
}

// exactHits proves I7 from outside: what is there is what the marks say.
func exactHits(t *testing.T, db *sql.DB, partitions int) (marks []int64) {
	t.Helper()
	count := func(query string, args ...any) (n int64) {
		require.NoError(t, db.QueryRow(query, args...).Scan(&n))
		return n
	}
	want := make(map[int64]int64)
	for p := range partitions {
		mark := count("SELECT high_water_mark FROM waltz_high_water_marks WHERE `partition` = ?", p)
		marks = append(marks, mark)
		require.Equal(t, mark+1, count("SELECT count(*) FROM hits WHERE part = ?", p), "partition %d", p)
		require.Equal(t, mark+1, count("SELECT count(*) FROM waltz_keys JOIN waltz_high_water_marks USING (number) WHERE `partition` = ?", p))
		for i := range mark + 1 {
			want[i%sumRows] += i
		}
	}
	for row := range int64(sumRows) {
		require.Equal(t, want[row], count("SELECT sum FROM sums WHERE row_number_ = ?", row))
	}
	return marks
}

// running is a view that is being run.
type running struct {
	*View
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error
}

func run(t *testing.T, log applier.Log, url string, o applier.Options, handlers ...Handler) *running {
	t.Helper()
	if o.Name == "" {
		o.Name = "hits"
	}
	if o.RetryMin == 0 {
		o.RetryMin, o.RetryMax = time.Millisecond, 50*time.Millisecond
	}
	if handlers == nil {
		handlers = []Handler{applier.On(hitKind, applyHit)}
	}
	view, err := OpenLog(t.Context(), log, url, o, handlers...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{view, t, cancel, make(chan error, 1)}
	go func() { r.ended <- view.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, view.Close())
	})
	return r
}

func (r *running) wait(p waltz.Partition, id int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(r.t, r.WaitFor(ctx, p, waltz.ID(id)), "%+v", r.Status())
}

// stopped waits until Run has returned by itself.
func (r *running) stopped() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		require.Error(r.t, err)
		return err
	case <-time.After(patience):
		require.FailNow(r.t, "the view did not stop", "%+v", r.Status())
		return nil
	}
}
