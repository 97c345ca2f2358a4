package applier

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waltz-log/waltz/waltz"
)

// ward is a log of words such as "3 5 poison": two keys, and whether it can be
// applied before it is cured.
type ward struct {
	log   script
	keys  map[waltz.ID][]string
	bad   map[waltz.ID]bool
	cured atomic.Bool
}

func drawWard(t *rapid.T) *ward {
	w := &ward{keys: make(map[waltz.ID][]string), bad: make(map[waltz.ID]bool)}
	n := rapid.IntRange(1, 120).Draw(t, "transactions")
	for id := range waltz.ID(n) {
		keys := []string{fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "key")), fmt.Sprint(rapid.IntRange(0, 7).Draw(t, "other key"))}
		data := "good"
		if len(w.bad) < inARowMax-1 && rapid.IntRange(0, 15).Draw(t, "bad") == 0 {
			data, w.bad[id] = "poison", true
		}
		w.keys[id] = keys
		c := waltz.Committed{ID: id, Header: waltz.Header(rapid.IntRange(1, 2).Draw(t, "header")), Time: time.Unix(int64(id), 0)}
		c.Data = []byte(strings.Join(append(keys, data), " "))
		w.log.all = append(w.log.all, c)
	}
	w.log.pieces = rapid.SliceOfN(rapid.IntRange(1, 60), 1, 8).Draw(t, "pieces")
	return w
}

func (w *ward) apply(tx *memoryTx, r waltz.Record[word]) error {
	return tx.apply(r.ID, strings.HasSuffix(string(r.Value), "poison") && !w.cured.Load())
}

func (w *ward) handlers() []Handler[*memoryTx] {
	keys := func(r waltz.Record[word]) []string { return strings.Fields(string(r.Value))[:2] }
	return []Handler[*memoryTx]{
		Keyed(On(single, func(_ context.Context, tx *memoryTx, r waltz.Record[word]) error { return w.apply(tx, r) }), keys),
		Keyed(OnBatch(several, func(_ context.Context, tx *memoryTx, rs []waltz.Record[word]) error {
			for _, r := range rs {
				if err := w.apply(tx, r); err != nil {
					return err
				}
			}
			return nil
		}), keys),
	}
}

// flowing is the naive model: what is applied while nothing is cured, and what of
// the rest is dead.
func (w *ward) flowing() (applied, dead []waltz.ID) {
	blocked := make(map[string]bool)
	for id := range waltz.ID(len(w.log.all)) {
		k := w.keys[id]
		if !blocked[k[0]] && !blocked[k[1]] {
			if !w.bad[id] {
				applied = append(applied, id)
				continue
			}
			dead = append(dead, id)
		}
		blocked[k[0]], blocked[k[1]] = true, true
	}
	return applied, dead
}

// sequence is what was applied of one key, in its order.
func (w *ward) sequence(applied []waltz.ID, key string) (ids []waltz.ID) {
	for _, id := range applied {
		if slices.Contains(w.keys[id], key) {
			ids = append(ids, id)
		}
	}
	return ids
}

// However the feed is cut into batches, whatever the database does, wherever
// another instance is faster, whenever somebody asks too early: while nothing is
// cured, exactly what does not have to wait is applied, and once it is, everything
// is, each key in the order of the log.
func TestQuarantineIsExactWhateverHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWard(t)
		db := newMemory()
		fates := rapid.SliceOfN(rapid.SampledFrom([]fate{well, well, well, fails, lost, unheard, overtaken}), 0, 60).Draw(t, "fates")
		var asking sync.WaitGroup
		asks := rapid.IntRange(0, 3).Draw(t, "asks")
		db.trap = func(s *Step[*memoryTx]) fate {
			if asks > 0 && s.New > 0 && len(fates)%5 == 1 {
				asks--
				asking.Go(func() { _, _ = db.Ask(context.Background(), s.Ref, 0, s.New, "") }) // memory can't fail
			}
			if len(fates) == 0 {
				return well
			}
			f := fates[0]
			fates = fates[1:]
			return f
		}
		o := Options{
			Name: "ward", Policy: QuarantineKey, RetryMin: time.Microsecond, RetryMax: time.Microsecond, LettersEvery: time.Millisecond,
			BatchTransactionsMax: rapid.IntRange(1, 100).Draw(t, "batch"),
			HA:                   rapid.SampledFrom([]HA{Race, Lease}).Draw(t, "ha"),
		}
		a, err := Open(context.Background(), &w.log, db, o, w.handlers()...)
		require.NoError(t, err)
		require.True(t, runUntil(t, a, waltz.ID(len(w.log.all)-1)))
		asks = 0
		asking.Wait()
		_, err = a.Retry(context.Background(), 0, 0, 1<<60)
		require.NoError(t, err)
		applied, dead := w.flowing()
		for key := range 8 {
			require.Equal(t, w.sequence(applied, fmt.Sprint(key)), w.sequence(db.state.applied[0], fmt.Sprint(key)))
		}
		require.Len(t, db.state.applied[0], len(applied))
		require.Equal(t, dead, openLetters(db, LetterDead))

		w.cured.Store(true)
		r, err := a.Retry(context.Background(), 0, 0, 1<<60)
		require.NoError(t, err)
		require.Equal(t, Retried{Asked: len(dead), Applied: len(dead)}, r)
		for key := range 8 {
			got := w.sequence(db.state.applied[0], fmt.Sprint(key))
			require.True(t, slices.IsSorted(got), "key %d: %v", key, got)
		}
		require.Len(t, db.state.applied[0], len(w.log.all))
		require.Empty(t, db.letters[0])
		require.NoError(t, a.Close())
	})
}

func openLetters(db *memory, state LetterState) (ids []waltz.ID) {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, l := range db.letters[0] {
		if l.State == state {
			ids = append(ids, l.ID)
		}
	}
	return ids
}

// Keys that no database would take are the same after having been in one.
func TestKeysSurviveTheDatabase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		named := rapid.SliceOf(rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))).Draw(t, "keys")
		h := Keyed(On(single, func(context.Context, *memoryTx, waltz.Record[word]) error { return nil }), func(waltz.Record[word]) []string { return slices.Clone(named) })
		b := newBatch([]Handler[*memoryTx]{h}, StopUnknown)
		b.add(waltz.Committed{Header: single.Header})
		keys, err := b.keysChanged(0)
		require.NoError(t, err)
		text := encodeKeys(keys)
		require.NotContains(t, text, "\x00")
		back, err := decodeKeys(text)
		require.NoError(t, err)
		require.Equal(t, len(keys), len(back))
		q := newQuarantine()
		q.add(back)
		for _, k := range keys {
			require.True(t, q.blocks([]string{k}))
		}
	})
	_, err := decodeKeys("nonsense")
	require.ErrorContains(t, err, "no JSON array")
}

// Deadlocks are tried again at once, with jitter; other trouble backs off.
func TestPauses(t *testing.T) {
	a := &Applier[*memoryTx, *effects]{o: Options{RetryMin: 50 * time.Millisecond, RetryMax: 10 * time.Second}}
	p := &partition[*memoryTx, *effects]{a: a}
	quick, slow := p.backOff(), p.backOff()
	seen := make(map[time.Duration]bool)
	for n := range 40 {
		pause := quick.next(ClassRetry, a.o.RetryMin)
		require.Less(t, pause, min(time.Millisecond<<n, a.o.RetryMin)+1)
		seen[pause] = true
		pause = slow.next(ClassBackOff, a.o.RetryMin)
		require.LessOrEqual(t, pause, 15*time.Second)
		require.GreaterOrEqual(t, pause, 25*time.Millisecond)
	}
	require.Greater(t, len(seen), 30)
}

func TestCut(t *testing.T) {
	require.Equal(t, "abc", cut("abc", 3))
	require.Equal(t, "a", cut("aé", 2))
	require.Equal(t, "aé", cut("aé", 3))
	require.Equal(t, "\uFFFDb\uFFFD", cut("\x00b\xff", 100))
}
