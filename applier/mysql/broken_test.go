package mysql

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/internal/dbtest"
	"github.com/waltz-log/waltz/waltz"
)

// F11: the connection is cut while COMMIT is in flight. Whether it came about is read
// from the mark, and nothing is applied twice or lost.
func TestConnectionCutDuringCommit(t *testing.T) {
	end := 100
	if soak() {
		end = 10_000
	}
	for moment, name := range map[dbtest.Moment]string{dbtest.BeforeSent: "before it is sent", dbtest.InFlight: "in flight", dbtest.Answered: "answered"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := servers.MariaDB(t).NewDatabase(t)
			db := migrated(t, url)
			hitTables(t, db)
			proxy := dbtest.NewProxy(t, url)
			var out logged
			log := hitLog(1, 10)
			v := run(t, log, proxy.URL(), applier.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
			v.wait(0, 9)
			for i := 10; i < end; i += 10 {
				cut := proxy.CutAt(moment, commit)
				appendHits(log, 0, i, i+10)
				<-cut
				v.wait(0, i+9)
			}
			require.Equal(t, []int64{int64(end - 1)}, exactHits(t, db, 1))
			require.Contains(t, out.String(), "outcome of a commit was unknown", "%s", out.String())
			if moment == dbtest.Answered {
				require.Contains(t, out.String(), "it is in the database")
			}
			if moment == dbtest.BeforeSent {
				require.Contains(t, out.String(), "it is not in the database")
			}
		})
	}
}

// A connection that is cut anywhere else costs a new one.
func TestConnectionCutAnywhere(t *testing.T) {
	url := servers.MariaDB(t).NewDatabase(t)
	db := migrated(t, url)
	hitTables(t, db)
	proxy := dbtest.NewProxy(t, url)
	log := hitLog(1, 10)
	v := run(t, log, proxy.URL(), applier.Options{Policy: applier.DeadLetter})
	v.wait(0, 9)
	end := 10
	for _, text := range []string{"START TRANSACTION", "UPDATE waltz_high_water_marks", "SAVEPOINT waltz_step", "INSERT INTO hits", "UPDATE sums", "INSERT INTO `waltz_keys`", "RELEASE SAVEPOINT"} {
		for _, moment := range []dbtest.Moment{dbtest.BeforeSent, dbtest.InFlight, dbtest.Answered} {
			cut := proxy.CutAt(moment, text)
			appendHits(log, 0, end, end+5)
			end += 5
			<-cut
			v.wait(0, end-1)
		}
	}
	exactHits(t, db, 1)
	require.Zero(t, v.Status()[0].Dead)
	require.GreaterOrEqual(t, v.Status()[0].Retries, uint64(10))
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// away is how long a database is gone.
func away() {
	if soak() {
		<-time.After(10 * time.Minute)
	}
}

// F22: the database is killed under load, stays away, and comes back: everything is
// applied once, and nothing has become a dead letter.
func TestDatabaseKilledUnderLoad(t *testing.T) {
	server := dbtest.MariaDB(t)
	url := server.NewDatabase(t)
	db := migrated(t, url)
	hitTables(t, db)
	const partitions = 4
	log := appliertest.NewLog("hits", partitions)
	v := run(t, log, url, applier.Options{Policy: applier.DeadLetter, BatchTransactionsMax: 20})
	end := 0
	for range 3 {
		for p := range partitions {
			appendHits(log, waltz.Partition(p), end, end+1500)
		}
		end += 1500
		v.wait(0, end-1400)
		require.NoError(t, server.Kill())
		for p := range partitions {
			appendHits(log, waltz.Partition(p), end, end+100)
		}
		end += 100
		require.Eventually(t, func() bool {
			for _, s := range v.Status() {
				if s.State != applier.StateRetrying || s.Fault.Class == applier.ClassData || s.Since.IsZero() {
					return false
				}
			}
			return true
		}, patience, time.Millisecond, "%+v", v.Status())
		away()
		require.NoError(t, server.Start())
		for p := range partitions {
			v.wait(waltz.Partition(p), end-1)
		}
		exactHits(t, db, partitions)
	}
	for _, s := range v.Status() {
		require.Zero(t, s.Dead)
		require.Equal(t, uint64(end), s.Applied, "each was applied once")
	}
}

// A server that answers nothing for a while holds everything up, and nothing is lost;
// what waits for it ends with its context.
func TestDatabasePaused(t *testing.T) {
	server := dbtest.MariaDB(t)
	url := server.NewDatabase(t)
	db := migrated(t, url)
	hitTables(t, db)
	log := hitLog(1, 10)
	v := run(t, log, url, applier.Options{StopGrace: 50 * time.Millisecond})
	v.wait(0, 9)
	require.NoError(t, server.Pause())
	appendHits(log, 0, 10, 20)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, v.WaitFor(ctx, 0, 19), context.DeadlineExceeded)
	v.cancel() // a batch that is under way is cut off after its grace
	require.NoError(t, <-v.ended)
	require.NoError(t, server.Resume())
	again := run(t, log, url, applier.Options{})
	again.wait(0, 19)
	exactHits(t, db, 1)
}
