package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waltz-log/waltz/internal/mutant"
	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/internal/txn"
	"github.com/waltz-log/waltz/internal/wire"
)

// Partition is one partition that this server owns. Make it with New. All
// methods may be called concurrently.
type Partition struct {
	o        Options
	inbox    *inbox
	wake     chan struct{} // the owner has something to look at
	session  atomic.Pointer[sessionRef]
	counters counters

	ctx         context.Context // ends when nothing is waited for any more
	cancel      context.CancelFunc
	closing     chan struct{}   // Close was called
	openCtx     context.Context // ends then, too: no session is opened any more
	stopOpening context.CancelFunc
	once        sync.Once
	done        chan struct{} // the owner and all its goroutines have ended

	closed  atomic.Pointer[closure] // why it is not open; nil: it is being opened
	stalled atomic.Bool             // the session is, since storages are full
}

// sessionRef is the open session, for readers.
type sessionRef struct{ Session }

// New starts to own a partition.
func New(o Options) *Partition {
	wake := make(chan struct{}, 1)
	p := &Partition{
		o:       o,
		inbox:   newInbox(o.InboxBytesMax, wake, wire.Refuse(wire.Unavailable, "partition %d is being opened", o.Partition)),
		wake:    wake,
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.openCtx, p.stopOpening = context.WithCancel(p.ctx)
	go p.own()
	return p
}

// Submit hands over a group: every attempt in it is answered through its
// Answerer, unless the partition is closed before. It waits while the inbox is
// full. The group's owner is released in any case.
func (p *Partition) Submit(ctx context.Context, g Group) error {
	why, err := p.inbox.put(ctx, g)
	if err != nil {
		g.release()
		return err
	}
	if why != nil {
		p.counters.refused(why.Reason, len(g.Attempts))
		g.refuse(*why)
		g.release()
	}
	return nil
}

// HighWaterMark returns the last committed ID: no lower one than any that was
// committed before the call, whoever did it. So it asks the storages whether
// another session has taken over.
func (p *Partition) HighWaterMark(ctx context.Context) (txn.ID, error) {
	if err := p.Confirm(ctx); err != nil {
		return txn.None, err
	}
	return p.Committed()
}

// Committed returns the last ID that this server knows to be committed. If
// another has taken over there may be more.
func (p *Partition) Committed() (txn.ID, error) {
	hwm, open := p.o.Tail.Committed()
	if !open {
		return txn.None, p.notOpen()
	}
	return hwm, nil
}

// Confirm returns nil if all that was committed before the call is known here. It
// is what makes an answer about the end of the log true (I8). Errors are
// *wire.Error, or the context's.
func (p *Partition) Confirm(ctx context.Context) error {
	s := p.session.Load()
	if s == nil {
		return p.notOpen()
	}
	return p.confirm(ctx, s)
}

func (p *Partition) confirm(ctx context.Context, s Session) error {
	err := s.Confirm(ctx)
	switch {
	case err == nil || mutant.On("end-of-log-not-confirmed"):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return wire.Refuse(wire.Unavailable, "partition %d: %v", p.o.Partition, err)
}

// Read returns committed records as [Session.Read] does. Errors are
// *wire.Error, or the context's.
func (p *Partition) Read(ctx context.Context, first, last txn.ID, bytesMax int) (record.Frame, error) {
	s := p.session.Load()
	if s == nil {
		return nil, p.notOpen()
	}
	frame, err := s.Read(ctx, first, last, bytesMax)
	if err != nil {
		return nil, p.readError(ctx, err)
	}
	return frame, nil
}

// At returns the first committed ID at or after t, the high-water mark + 1 if
// there is none.
func (p *Partition) At(ctx context.Context, t txn.Timestamp) (txn.ID, error) {
	s := p.session.Load()
	if s == nil {
		return txn.None, p.notOpen()
	}
	if err := p.confirm(ctx, s); err != nil { // of the session that answers: another one may know more
		return txn.None, err
	}
	id, err := s.At(ctx, t)
	if err != nil {
		return txn.None, p.readError(ctx, err)
	}
	hwm, _ := p.o.Tail.Committed()
	return min(id, hwm+1), nil
}

// readError makes a refusal of what a session said.
func (p *Partition) readError(ctx context.Context, err error) error {
	if _, ok := wire.ReasonOf(err); ok {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case record.IsCorrupt(err):
		return wire.Refuse(wire.Corrupt, "read partition %d: %v", p.o.Partition, err)
	}
	return wire.Refuse(wire.Unavailable, "read partition %d: %v", p.o.Partition, err)
}

// notOpen says to clients why there is no session.
func (p *Partition) notOpen() error { return p.whyNot().refusal(p.o.Partition) }

func (p *Partition) whyNot() *closure {
	if c := p.closed.Load(); c != nil {
		return c
	}
	return &closure{err: errOpening}
}

// Ready returns nil if the partition is open, else why it is not: a
// *[DamagedError] if that is for good.
func (p *Partition) Ready() error {
	if p.session.Load() != nil {
		return nil
	}
	return p.whyNot().cause(p.o.Partition)
}

// Close refuses new attempts, waits until what is in flight is committed, and
// ends the session. When ctx ends first, what is in flight stays unanswered.
// Safe to call more than once; each call returns when all has ended.
func (p *Partition) Close(ctx context.Context) error {
	p.once.Do(func() {
		p.inbox.close(wire.Refuse(wire.ShuttingDown, "partition %d is being closed here", p.o.Partition))
		close(p.closing)
		p.stopOpening()
	})
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
	}
	p.cancel()
	<-p.done
	return fmt.Errorf("close partition %d: %w: what was in flight stays unanswered", p.o.Partition, ctx.Err())
}

func (p *Partition) isClosing() bool {
	select {
	case <-p.closing:
		return true
	default:
		return false
	}
}

// own is the owner: it opens sessions and serves them until the partition is
// closed.
func (p *Partition) own() {
	defer close(p.done)
	defer p.cancel()
	s := newSequencer(p)
	defer s.searcher.stop()
	defer s.doubter.stop()
	wait, said, openMax := p.o.ReopenFirst, saying{}, time.Duration(0)
	for !p.isClosing() {
		opened := p.o.Now()
		err := s.openWithin(p.openCtx, openMax)
		openMax = 0
		why := &closure{damaged: record.IsCorrupt(err)}
		if err == nil {
			said, err = saying{}, s.serve()
		}
		if p.isClosing() {
			return
		}
		if errors.Is(err, errSwitch) {
			openMax = switchOpenMax
			continue
		}
		why.err = err
		p.shut(why)
		if p.o.Now().Sub(opened) > p.o.ReopenMax { // it was of use for a while
			wait = p.o.ReopenFirst
		}
		said = p.report(why, said)
		pause := wait
		if why.damaged {
			pause = p.o.ReopenDamaged
		}
		if !p.pause(pause) {
			return
		}
		wait = min(2*wait, p.o.ReopenMax)
	}
}

// shut tells everybody who waits why no session could be opened, or why it ended.
func (p *Partition) shut(why *closure) {
	p.closed.Store(why)
	if !why.damaged {
		p.keepOut(refusal(p.o.Partition, why.err))
		return
	}
	refusal := why.refusal(p.o.Partition)
	p.keepOut(refusal)
	p.o.Tail.Refuse(refusal)
}

// saying is what the log has been told of why there is no session, since there was
// one; zero: nothing.
type saying struct {
	damaged bool
	why     string // last, damage apart
	at      time.Time
}

// sayEvery is the least time between two lines that give different reasons: which
// storages fail first changes from try to try.
const sayEvery = time.Minute

// report logs why there is no session, unless that is what was said last, or
// something was said a moment ago. Damage is said at once, and once, though each
// try's error is a bit different.
func (p *Partition) report(why *closure, said saying) saying {
	if why.damaged {
		if !said.damaged {
			p.o.Logger.Error("partition stays closed: no store session can be opened for damage", "partition", p.o.Partition, "error", why.err)
		}
		said.damaged = true
		return said
	}
	now, says := p.o.Now(), why.err.Error()
	if says == said.why || said.why != "" && now.Sub(said.at) < sayEvery {
		return said
	}
	p.o.Logger.Warn("no store session, trying to open one", "partition", p.o.Partition, "error", why.err)
	said.why, said.at = says, now
	return said
}

// pause waits, and reports false if the partition is being closed.
func (p *Partition) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.closing:
		return false
	}
}

var (
	errClosing = errors.New("partition is being closed")
	errOpening = errors.New("it is being opened")
)
