package e2e

import (
	"context"
	"errors"
	"sync"

	"github.com/waltz-log/waltz/internal/e2e/history"
	"github.com/waltz-log/waltz/waltz"
)

// recordedLog is a client whose appends are recorded, for runners of
// transaction contexts: every attempt is an op of its own, named by the first
// line of its data.
type recordedLog struct {
	*waltz.Client
	name string
	rec  *recorder

	mu   sync.Mutex
	open map[waltz.RequestID]string // appends whose outcome is unknown, by request
}

func (l *recordedLog) Append(ctx context.Context, p waltz.Partition, tx waltz.Transaction) (waltz.ID, error) {
	name := history.NameOf(tx.Data)
	op := history.Op{
		Client: l.name, Name: name, Partition: p, Header: tx.Header, Data: tx.Data, Key: tx.Key,
		Locks: hashes(tx.Locks), Mark: tx.HighWaterMark,
	}
	if err := l.rec.begin(op); err != nil {
		return waltz.None, err
	}
	id, err := l.Client.Append(ctx, p, tx)
	if unknown, is := errors.AsType[*waltz.UnknownError](err); is {
		l.mu.Lock()
		l.open[unknown.RequestID] = name
		l.mu.Unlock()
	}
	return id, errors.Join(l.rec.end(name, id, err), err)
}

func (l *recordedLog) Resolve(ctx context.Context, unknown *waltz.UnknownError) (waltz.ID, error) {
	l.mu.Lock()
	name := l.open[unknown.RequestID]
	l.mu.Unlock()
	id, err := l.Client.Resolve(ctx, unknown)
	if out, _ := outcome(id, err); out == history.Refused || out == history.Unknown {
		return id, err // trouble with asking, not an answer
	}
	return id, errors.Join(l.rec.end(name, id, err), err)
}

func (l *recordedLog) HighWaterMark(ctx context.Context, p waltz.Partition) (waltz.ID, error) {
	asked := now()
	mark, err := l.Client.HighWaterMark(ctx, p)
	if err != nil {
		return mark, err
	}
	return mark, l.rec.write(history.Line{Look: &history.Look{
		Client: l.name, Partition: p, Invoked: asked, Returned: now(), Mark: mark,
	}})
}
