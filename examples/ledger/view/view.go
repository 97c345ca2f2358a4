package view

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/examples/ledger/ledger"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/txcontext"
	"github.com/waltz-log/waltz/waltz"
)

// Name is what the ledger's view is called in its database.
const Name = "ledger"

// View is the ledger's view in a database of any kind: the applier that follows the
// log, and what transaction contexts read. All methods may be called concurrently.
type View interface {
	txcontext.KeyedView[Snapshot]
	// Run, Name, Status and HighWaterMark are the applier's.
	Run(ctx context.Context) error
	Name() string
	Status() []applier.PartitionStatus
	HighWaterMark(ctx context.Context, p waltz.Partition) (waltz.ID, error)
	// Fault tells of an error what the database says about it; false if it isn't the
	// database's.
	Fault(err error) (applier.Fault, bool)
	// Ask asks the database as it is then, beside all marks.
	Ask() Querier
	// HasPending reports whether tables of the ledger or of the framework are not
	// those that this program knows.
	HasPending(ctx context.Context) (bool, error)
	// Close ends Run and closes the database.
	Close() error
}

// Snapshot is one state of the view, to be asked until the function that got it
// returns.
type Snapshot struct {
	Querier
	native any // the database's own handle
}

// native is a view by a database's own applier.
type native[Tx, S any] struct {
	*applier.Applier[Tx, S]
	kind *kind
	db   *sql.DB
	ask  func(S) Querier
}

// Snapshot implements txcontext.View.
func (v native[Tx, S]) Snapshot(ctx context.Context, p waltz.Partition, read func(context.Context, Snapshot, waltz.ID) error) error {
	return v.SnapshotFor(ctx, p, "", read)
}

// SnapshotFor implements txcontext.KeyedView.
func (v native[Tx, S]) SnapshotFor(ctx context.Context, p waltz.Partition, key string, read func(context.Context, Snapshot, waltz.ID) error) error {
	return v.Applier.SnapshotFor(ctx, p, key, func(ctx context.Context, s S, mark waltz.ID) error {
		return read(ctx, Snapshot{v.ask(s), s}, mark)
	})
}

// Key implements txcontext.View.
func (v native[Tx, S]) Key(ctx context.Context, s Snapshot, p waltz.Partition, key string) (waltz.ID, bool, error) {
	handle, is := s.native.(S)
	if !is {
		return waltz.None, false, fmt.Errorf("look up a key: %T is not a snapshot of this view", s.native)
	}
	return v.Applier.Key(ctx, handle, p, key)
}

func (v native[Tx, S]) Fault(err error) (applier.Fault, bool) { return v.Database().Fault(err) }

func (v native[Tx, S]) Ask() Querier { return v.kind.asks(v.db) }

func (v native[Tx, S]) HasPending(ctx context.Context) (bool, error) {
	framework, err := migrations.New(v.db, v.kind.framework, migrations.Options{})
	if err != nil {
		return false, err
	}
	if err := framework.Check(ctx); err != nil {
		if _, is := errors.AsType[*migrations.SchemaError](err); is {
			return true, nil
		}
		return false, err
	}
	return v.kind.hasPending(ctx, v.db)
}

func (v native[Tx, S]) Close() error { return errors.Join(v.Applier.Close(), v.db.Close()) }

// handlers apply the ledger's entries. The tables do not depend on the order in which
// kinds take turns, so each is called once for a batch.
func handlers[Tx any](write func(ctx context.Context, tx Tx, records []waltz.Record[ledger.Entry], b *batch) error) (all []applier.Handler[Tx]) {
	for _, k := range ledger.Kinds() {
		all = append(all, applier.Keyed(applier.Unordered(applier.OnBatch(k, func(ctx context.Context, tx Tx, records []waltz.Record[ledger.Entry]) error {
			return wrap(write(ctx, tx, records, fold(records)), "apply %d entries", len(records))
		})), keys))
	}
	return all
}

// keys are the accounts that an entry changes. The house's own are not among them: all
// would wait behind one letter, and what is written of them is a sum, which no order
// changes.
func keys(r waltz.Record[ledger.Entry]) (all []string) {
	for _, a := range []ledger.Account{r.Value.From, r.Value.To, r.Value.Account} {
		if a.IsCustomer() {
			all = append(all, a.String())
		}
	}
	return all
}
