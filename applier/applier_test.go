package applier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/waltz"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is a log of one partition that is there from the beginning, brought in
// pieces of the given sizes.
type script struct {
	all    []waltz.Committed
	pieces []int
}

func (l *script) LogID() string   { return "script" }
func (l *script) Partitions() int { return 1 }
func (l *script) HighWaterMark(context.Context, waltz.Partition) (waltz.ID, error) {
	return waltz.ID(len(l.all) - 1), nil
}

func (l *script) Subscribe(_ context.Context, o waltz.SubscribeOptions) (Feed, error) {
	return &scriptFeed{script: l, at: o.HighWaterMark, o: o}, nil
}

type scriptFeed struct {
	*script
	at waltz.ID
	o  waltz.SubscribeOptions
	n  int
}

func (f *scriptFeed) Close() error { return nil }

func (f *scriptFeed) Next(ctx context.Context, max int) (waltz.Batch, error) {
	if int(f.at)+1 == len(f.all) {
		<-ctx.Done()
		return waltz.Batch{}, ctx.Err()
	}
	n := min(max, f.pieces[f.n%len(f.pieces)], len(f.all)-int(f.at)-1)
	f.n++
	b := waltz.Batch{Committed: waltz.ID(len(f.all) - 1)}
	for _, c := range f.all[f.at+1:][:n] {
		if f.o.Headers == nil || slices.Contains(f.o.Headers, c.Header) {
			b.Transactions = append(b.Transactions, c)
		} else if c.Key != "" {
			c.Data, c.Skipped = nil, true
			b.Transactions = append(b.Transactions, c)
		}
	}
	f.at += waltz.ID(n)
	b.HighWaterMark = f.at
	return b, nil
}

type word string

type wordCodec struct{}

func (wordCodec) Encode(w word) ([]byte, error) { return []byte(w), nil }
func (wordCodec) Decode(data []byte, w *word) error {
	if string(data) == "undecodable" {
		return errors.New("not a word")
	}
	*w = word(data)
	return nil
}

var (
	single  = waltz.Kind[word]{Header: 1, Name: "single", Codec: wordCodec{}}
	several = waltz.Kind[word]{Header: 2, Name: "several", Codec: wordCodec{}}
)

// world is a log and what the view must become of it.
type world struct {
	log     script
	applied []waltz.ID
	dead    []waltz.ID
	keys    map[string]waltz.ID
}

func drawWorld(t *rapid.T) *world {
	w := &world{keys: make(map[string]waltz.ID)}
	n := rapid.IntRange(1, 120).Draw(t, "transactions")
	for id := range waltz.ID(n) {
		c := waltz.Committed{ID: id, Time: time.Unix(int64(id), 0), Header: waltz.Header(rapid.IntRange(1, 3).Draw(t, "header"))}
		if rapid.IntRange(0, 3).Draw(t, "keyed") == 0 {
			c.Key = fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "key"))
			if _, taken := w.keys[c.Key]; !taken {
				w.keys[c.Key] = id
			}
		}
		c.Data = []byte(rapid.SampledFrom([]string{"good", "good", "good", "good", "good", "good", "poison", "undecodable"}).Draw(t, "data"))
		c.DataLen = len(c.Data)
		switch {
		case c.Header == 3:
		case string(c.Data) == "good":
			w.applied = append(w.applied, id)
		default:
			w.dead = append(w.dead, id)
		}
		w.log.all = append(w.log.all, c)
	}
	w.log.pieces = rapid.SliceOfN(rapid.IntRange(1, 60), 1, 8).Draw(t, "pieces")
	return w
}

func handlersOfWorld() []Handler[*memoryTx] {
	return []Handler[*memoryTx]{
		On(single, func(_ context.Context, tx *memoryTx, r waltz.Record[word]) error {
			_ = tx.apply(r.ID, r.Value == "poison") // the handle remembers
			return nil
		}),
		OnBatch(several, func(_ context.Context, tx *memoryTx, rs []waltz.Record[word]) error {
			for _, r := range rs {
				if err := tx.apply(r.ID, r.Value == "poison"); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

// However the feed is cut into batches, whatever the database does, wherever
// another instance is faster: the view holds exactly the good transactions in
// their order, the dead letters are exactly the bad ones, and each key is its first
// transaction's (I7).
func TestViewIsExactWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		db := newMemory()
		fates := rapid.SliceOfN(rapid.SampledFrom([]fate{well, well, well, fails, lost, unheard, overtaken}), 0, 40).Draw(t, "fates")
		db.trap = func(*Step[*memoryTx]) fate {
			if len(fates) == 0 {
				return well
			}
			f := fates[0]
			fates = fates[1:]
			return f
		}
		o := Options{
			Name: "world", Policy: DeadLetter, RetryMin: time.Microsecond, RetryMax: time.Microsecond,
			BatchTransactionsMax: rapid.IntRange(1, 100).Draw(t, "batch"),
			BatchBytesMax:        rapid.SampledFrom([]int{1, 3000, 1 << 20}).Draw(t, "bytes"),
			HA:                   rapid.SampledFrom([]HA{Race, Lease}).Draw(t, "ha"),
		}
		a, err := Open(context.Background(), &w.log, db, o, handlersOfWorld()...)
		require.NoError(t, err)
		reached := runUntil(t, a, waltz.ID(len(w.log.all)-1))
		if !reached { // the tenth in a row: the model does not count those
			w.upTo(db.rows[0].HighWaterMark)
		}
		require.Equal(t, w.applied, db.state.applied[0])
		require.Equal(t, w.dead, db.state.dead[0])
		if len(w.keys) > 0 {
			require.Equal(t, w.keys, db.state.keys[0])
		}
		require.NoError(t, a.Close())
	})
}

// upTo forgets what lies above a mark.
func (w *world) upTo(mark waltz.ID) {
	above := func(id waltz.ID) bool { return id > mark }
	w.applied = slices.DeleteFunc(w.applied, above)
	w.dead = slices.DeleteFunc(w.dead, above)
	for k, id := range w.keys {
		if above(id) {
			delete(w.keys, k)
		}
	}
	if len(w.applied) == 0 {
		w.applied = nil
	}
}

// runUntil applies until the view shows id, or stops because of ten in a row.
func runUntil(t *rapid.T, a *Applier[*memoryTx, *effects], id waltz.ID) (reached bool) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- a.Run(ctx)
		cancel()
	}()
	reached = a.WaitFor(ctx, 0, id) == nil
	cancel()
	err := <-ended
	if !reached {
		require.ErrorContains(t, err, "in a row")
	} else {
		require.NoError(t, err)
	}
	return reached
}

// One poison transaction in n costs about 2 log2(n) more, wherever it is and
// whether or not the error comes where it belongs.
func TestCostOfPoison(t *testing.T) {
	const n = 4096
	for _, kind := range []waltz.Kind[word]{single, several} {
		for _, at := range []int{0, 1, 2047, 2048, 4094, 4095} {
			log := script{pieces: []int{n}}
			for id := range waltz.ID(n) {
				log.all = append(log.all, waltz.Committed{ID: id, Header: kind.Header, Data: []byte("good")})
			}
			log.all[at].Data = []byte("poison")
			steps := 0
			db := newMemory()
			db.trap = func(*Step[*memoryTx]) fate { steps++; return well }
			a, err := Open(t.Context(), &log, db, Options{Name: "cost"}, handlersOfWorld()...)
			require.NoError(t, err)
			err = a.Run(t.Context())
			var stopped *TransactionError
			require.ErrorAs(t, err, &stopped)
			require.Equal(t, waltz.ID(at), stopped.ID)
			require.LessOrEqual(t, steps, n/chunk+1+2*12+4)
			require.NoError(t, a.Close())
		}
	}
}

func TestOptions(t *testing.T) {
	o, err := Options{Name: "a"}.filled()
	require.NoError(t, err)
	require.Equal(t, 5000, o.BatchTransactionsMax)
	require.Equal(t, 8<<20, o.BatchBytesMax)
	require.NotEmpty(t, o.Instance)
	other, err := Options{Name: "a"}.filled()
	require.NoError(t, err)
	require.NotEqual(t, o.Instance, other.Instance)

	_, err = Options{
		Name: "a b", Version: -1, Instance: strings.Repeat("x", 101), Migrate: 7, Policy: 7, UnknownHeaders: 7, HA: 7, DeadMax: -1, DeadWindow: -1,
		QuarantineMax: -1, LettersEvery: -1, Meaning: strings.Repeat("x", 101),
		LeaseDuration: time.Millisecond, BatchTransactionsMax: -1, BatchBytesMax: -1, RetryMin: 5, RetryMax: 4, StopGrace: -1,
	}.filled()
	for _, what := range []string{
		"name \"a b\"", "version -1", "instance", "migrate 7", "policy 7", "unknown headers 7", "ha 7", "dead letters -1", "dead letter window", "quarantine of -1", "letters every", "meaning of 101 bytes",
		"lease 1ms", "batch of -1 transactions", "batch of -1 bytes", "retry after", "stop grace",
	} {
		require.ErrorContains(t, err, what)
	}
}

func TestEmptyHandlerIsRefused(t *testing.T) {
	_, err := Open(t.Context(), &script{}, newMemory(), Options{Name: "a"}, Handler[*memoryTx]{})
	require.ErrorContains(t, err, "a handler is empty")
}

// A batch that is under way when Run's context ends is finished; one that does
// not end within the grace is cut off. Either way Run returns nil.
func TestRunFinishesWhatIsUnderWay(t *testing.T) {
	for _, grace := range []time.Duration{time.Hour, time.Millisecond} {
		log := script{pieces: []int{1}, all: []waltz.Committed{{ID: 0, Header: single.Header, Data: []byte("good")}}}
		db := newMemory()
		ctx, cancel := context.WithCancel(t.Context())
		a, err := Open(t.Context(), &log, db, Options{Name: "a", StopGrace: grace}, On(single, func(ctx context.Context, tx *memoryTx, r waltz.Record[word]) error {
			cancel()
			if grace < time.Second {
				<-ctx.Done()
				return ctx.Err()
			}
			return tx.apply(r.ID, false)
		}))
		require.NoError(t, err)
		require.NoError(t, a.Run(ctx))
		require.Equal(t, grace > time.Second, db.rows[0].HighWaterMark == 0)
		require.NoError(t, a.Close())
	}
}

func TestHooksAreCalled(t *testing.T) {
	log := script{pieces: []int{2}}
	for id, data := range []string{"good", "poison", "good", "good"} {
		log.all = append(log.all, waltz.Committed{ID: waltz.ID(id), Header: single.Header, Data: []byte(data)})
	}
	var mu sync.Mutex
	var calls []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, fmt.Sprintf(format, args...))
	}
	db := newMemory()
	fates := []fate{fails, overtaken}
	db.trap = func(*Step[*memoryTx]) fate {
		if len(fates) == 0 {
			return well
		}
		f := fates[0]
		fates = fates[1:]
		return f
	}
	a, err := Open(t.Context(), &log, db, Options{Name: "a", Policy: DeadLetter, BatchTransactionsMax: 1, RetryMin: 1, RetryMax: 1, Hooks: Hooks{
		Applied:  func(_ waltz.Partition, n int, mark waltz.ID, _ time.Duration) { note("applied %d to %d", n, mark) },
		Changed:  func(s PartitionStatus) { note("%s", s.State) },
		Retrying: func(_ waltz.Partition, f Fault, _ time.Duration) { note("retry %s", f.Class) },
		Lost:     func(_ waltz.Partition, mark waltz.ID) { note("lost, mark %d", mark) },
		Dead:     func(_ waltz.Partition, id waltz.ID, f Fault) { note("dead %d: %s", id, f.Class) },
	}}, handlersOfWorld()...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	require.NoError(t, a.WaitFor(t.Context(), 0, 3))
	cancel()
	require.NoError(t, <-ended)
	require.Equal(t, []string{
		"starting", "applying", "retrying", "retry retry", "lost, mark 0", "applying", "applied 0 to 1", "dead 1: data", "applied 1 to 2", "applied 1 to 3", "idle",
	}, calls)
	require.NoError(t, a.Close())
}
