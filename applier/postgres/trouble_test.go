package postgres

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/waltz"
)

func quick() applier.Options {
	return applier.Options{Name: "kill", Policy: applier.DeadLetter, BatchTransactionsMax: 20, RetryMin: 2 * time.Millisecond, RetryMax: 100 * time.Millisecond}
}

func reach(t *testing.T, view *View, log *appliertest.Log) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(sized(2, 60))*time.Minute) // after an outage there is much to do
	defer cancel()
	for p := range log.Partitions() {
		end, err := log.HighWaterMark(ctx, waltz.Partition(p))
		require.NoError(t, err)
		require.NoError(t, view.WaitFor(ctx, waltz.Partition(p), end))
	}
}

// F11: a connection is cut at each moment of COMMIT: nothing is lost, nothing done
// twice, and the applier says which way it was decided.
func TestCutInCommit(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	h := newHits(t, address)
	proxy := dbtest.NewProxy(t, address)
	log := appliertest.NewLog("cut", 1)
	var unknown atomic.Int32
	o := quick()
	o.Hooks.Retrying = func(_ waltz.Partition, f applier.Fault, _ time.Duration) {
		if f.Class == applier.ClassUnknown {
			unknown.Add(1)
		}
	}
	view := runView(t, log, proxy.URL(), o, applier.On(hitKind, applyHit))
	n := 0
	for round := range 4 {
		for _, moment := range []dbtest.Moment{dbtest.BeforeSent, dbtest.InFlight, dbtest.Answered} {
			cut := proxy.CutAt(moment, "COMMIT\x00") // not READ COMMITTED
			appendHits(log, n, 30)
			n += 30
			<-cut
			reach(t, view, log)
			h.exact(1)
		}
		require.GreaterOrEqual(t, unknown.Load(), int32(3*(round+1)))
	}
}

// Connections are cut all the time, wherever they are.
func TestCutAnywhere(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	h := newHits(t, address)
	proxy := dbtest.NewProxy(t, address)
	log := appliertest.NewLog("cut", 3)
	appendHits(log, 0, 2000)
	o := quick()
	var applied atomic.Int32
	o.Hooks.Applied = func(waltz.Partition, int, waltz.ID, time.Duration) {
		if n := applied.Add(1); n%7 == 0 && n < 140 {
			proxy.Cut()
		}
	}
	view := runView(t, log, proxy.URL(), o, applier.On(hitKind, applyHit))
	reach(t, view, log)
	h.exact(3)
}

// F22, short: the server is killed under load and comes back, three times: not one dead
// letter, and the view goes on by itself.
func TestServerKilledUnderLoad(t *testing.T) {
	pg := dbtest.PostgreSQL(t)
	address := pg.NewDatabase(t)
	h := newHits(t, address)
	log := appliertest.NewLog("down", 3)
	o := quick()
	moved := make(chan struct{}, 1)
	o.Hooks.Applied = func(waltz.Partition, int, waltz.ID, time.Duration) {
		select {
		case moved <- struct{}{}:
		default:
		}
	}
	view := runView(t, log, address, o, applier.On(hitKind, applyHit))
	n := 0
	for range sized(3, 50) {
		appendHits(log, n, 1000)
		n += 1000
		<-moved
		require.NoError(t, pg.Kill())
		require.Eventually(t, func() bool {
			s := view.Status()[0]
			return s.State == applier.StateRetrying && !s.Since.IsZero() && s.Retries > 2
		}, 30*time.Second, time.Millisecond)
		require.NoError(t, pg.Start())
		reach(t, view, log)
		h.conn = connect(t, address)
		h.exact(3)
	}
}

// F22: the server is away while the log grows: memory stays bounded, the trouble
// shows, and when it is back, the view is soon up to date.
func TestServerAway(t *testing.T) {
	pg := dbtest.PostgreSQL(t)
	address := pg.NewDatabase(t)
	h := newHits(t, address)
	log := appliertest.NewLog("away", 3)
	o := quick()
	o.RetryMax = time.Second
	view := runView(t, log, address, o, applier.On(hitKind, applyHit))
	appendHits(log, 0, 100)
	reach(t, view, log)
	require.NoError(t, pg.Kill())
	appendHits(log, 100, 10_000)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	retrying := func() bool { return view.Status()[0].State == applier.StateRetrying && view.Status()[0].Retries > 3 }
	require.Eventually(t, retrying, time.Minute, 10*time.Millisecond)
	before, since := heap(), view.Status()[0].Since
	away := time.After(time.Duration(sized(2, 600)) * time.Second)
	for n := 10_100; ; n += 100 {
		appendHits(log, n, 100) // which the test's log holds in memory, 300 transactions of about 200 bytes
		select {
		case <-away:
			require.Less(t, heap(), before+uint64(n)*3*300+32<<20)
			require.Equal(t, since, view.Status()[0].Since, "one outage, one time")
			require.NoError(t, pg.Start())
			reach(t, view, log)
			h.conn = connect(t, address)
			h.exact(3)
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// A server that stops answering is noticed, if anything bounds the wait.
func TestServerPaused(t *testing.T) {
	pg := dbtest.PostgreSQL(t)
	address := pg.NewDatabase(t)
	h := newHits(t, address)
	log := appliertest.NewLog("paused", 1)
	view := runView(t, log, address, quick(), applier.On(hitKind, applyHit))
	appendHits(log, 0, 100)
	reach(t, view, log)
	require.NoError(t, pg.Pause())
	appendHits(log, 100, 100)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, view.WaitFor(ctx, 0, 199), context.DeadlineExceeded)
	require.NoError(t, pg.Resume())
	reach(t, view, log)
	h.exact(1)
}

// A deadlock in which the view is the victim, and errors that the server could give at any
// time: all of them pass, and nothing becomes a dead letter.
func TestTroubleThatPasses(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	h := newHits(t, address)
	_, err := h.conn.Exec(t.Context(), `CREATE SEQUENCE tries; CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE codes text[] := ARRAY['40001', '40P01', '53100', '53200', '55P03', '57014', '25006', '58030']; n bigint := nextval('tries');
		BEGIN IF n <= 16 THEN RAISE EXCEPTION 'made by the test' USING ERRCODE = codes[1 + n % 8]; END IF; RETURN NEW; END$$;
		CREATE TRIGGER trouble BEFORE INSERT ON hits FOR EACH ROW EXECUTE FUNCTION trouble()`)
	require.NoError(t, err)
	log := appliertest.NewLog("trouble", 1)
	appendHits(log, 0, 100)
	view := runView(t, log, address, quick(), applier.On(hitKind, applyHit))
	reach(t, view, log)
	h.exact(1)
	require.GreaterOrEqual(t, view.Status()[0].Retries, uint64(16))
}

func TestDeadlockVictim(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	h := newHits(t, address)
	other := connect(t, address)
	_, err := other.Exec(t.Context(), "SET deadlock_timeout = '1h'") // it never finds out by itself
	require.NoError(t, err)
	begin := func(query string) {
		_, err := other.Exec(t.Context(), query)
		require.NoError(t, err)
	}
	begin("BEGIN")
	begin("UPDATE sums SET sum = sum WHERE row = 4")
	log := appliertest.NewLog("deadlock", 1)
	appendHits(log, 0, 20) // takes rows 0 to 4 in order
	o := quick()
	victim := make(chan applier.Fault, 100)
	o.Hooks.Retrying = func(_ waltz.Partition, f applier.Fault, _ time.Duration) { victim <- f }
	view := runView(t, log, address, o, applier.On(hitKind, applyHit))
	require.NoError(t, waitFor(t.Context(), address, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"))
	begin("UPDATE sums SET sum = sum WHERE row = 0")
	f := <-victim
	require.Equal(t, "40P01", f.Code)
	require.Equal(t, applier.ClassRetry, f.Class)
	begin("COMMIT")
	reach(t, view, log)
	h.exact(1)
}

// A serialization failure of the server's own: a handler reads what others write, where
// the database's default makes that serializable for the others.
func TestMarkLockedByAnother(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t) + "&lock_timeout=50"
	h := newHits(t, address)
	log := appliertest.NewLog("locked", 1)
	o := quick()
	trouble := make(chan applier.Fault, 100)
	o.Hooks.Retrying = func(_ waltz.Partition, f applier.Fault, _ time.Duration) { trouble <- f }
	view := runView(t, log, address, o, applier.On(hitKind, applyHit))
	_, err := h.conn.Exec(t.Context(), "BEGIN; SELECT * FROM waltz_high_water_marks FOR UPDATE")
	require.NoError(t, err)
	appendHits(log, 0, 20)
	f := <-trouble
	require.Equal(t, "55P03", f.Code)
	require.Equal(t, applier.ClassBackOff, f.Class)
	_, err = h.conn.Exec(t.Context(), "COMMIT")
	require.NoError(t, err)
	reach(t, view, log)
	h.exact(1)
}

// A table is altered under a view that runs: its statements are prepared anew.
func TestAlteredTable(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	h := newHits(t, address)
	log := appliertest.NewLog("altered", 1)
	view := runView(t, log, address, quick(), applier.On(hitKind, func(ctx context.Context, tx *Tx, r waltz.Record[hit]) error {
		if err := tx.Queue(ctx, "INSERT INTO hits VALUES ($1, $2) RETURNING *", int(r.Partition), int64(r.ID)); err != nil {
			return err
		}
		var row int64
		return tx.QueryRow(ctx, "UPDATE sums SET sum = sum + $1 WHERE row = $2 RETURNING sums.*", r.Value.Add, r.Value.Row).Scan(&row, nil)
	}))
	for i, change := range []string{"", "ALTER TABLE hits ADD COLUMN note text", "ALTER TABLE hits ALTER COLUMN part TYPE bigint", "ALTER TABLE sums ALTER COLUMN sum TYPE numeric"} {
		_, err := h.conn.Exec(t.Context(), change)
		require.NoError(t, err)
		appendHits(log, 20*i, 20)
		reach(t, view, log)
		h.conn = connect(t, address)
		h.exact(1)
	}
}
