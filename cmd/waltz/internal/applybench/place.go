package applybench

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/waltz"
)

// kind is what is different from one kind of database to another.
type kind struct {
	name   string
	openDB func(address string) (*sql.DB, error)
	// reserve makes something new of that name at an address; drop takes it away.
	reserve func(ctx context.Context, address, name string) (at string, drop func(context.Context) error, err error)
	tables  []string
	open    func(ctx context.Context, log applier.Log, address string, way Way, o applier.Options) (view, error)
	byHand  func(ctx context.Context, address string, way Way, partitions int) (hand, error)
}

// view is an applier on any database.
type view interface {
	Run(ctx context.Context) error
	WaitFor(ctx context.Context, p waltz.Partition, id waltz.ID) error
	Close() error
}

// hand is SQL by hand. Calls for different partitions may be concurrent.
type hand interface {
	// apply applies a batch in one SQL transaction.
	apply(ctx context.Context, p waltz.Partition, rs []record) error
	// commit is one SQL transaction that changes one row.
	commit(ctx context.Context) error
	close() error
}

// place is where one run writes: the tables, and nothing else.
type place struct {
	*kind
	address string
	drop    func(context.Context) error
}

// dropMax bounds the cleaning up, also after an interrupt.
const dropMax = 30 * time.Second

// newPlace makes a place with empty tables.
func (k *kind) newPlace(ctx context.Context, address string) (*place, error) {
	name := "waltz_bench_" + strings.ToLower(rand.Text()[:10])
	at, drop, err := k.reserve(ctx, address, name)
	if err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	p := &place{kind: k, address: at, drop: drop}
	if err := p.on(func(db *sql.DB) error { return executeAll(ctx, db, k.tables) }); err != nil {
		return nil, errors.Join(fmt.Errorf("make the tables in %s: %w", name, err), p.close(ctx))
	}
	return p, nil
}

// close drops the place.
func (p *place) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropMax)
	defer cancel()
	return p.drop(ctx)
}

func (p *place) on(do func(*sql.DB) error) error { return onDB(p.kind, p.address, do) }

func onDB(k *kind, address string, do func(*sql.DB) error) error {
	db, err := k.openDB(address)
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

func executeAll(ctx context.Context, db *sql.DB, statements []string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// check compares the tables with what they should come to.
func (p *place) check(ctx context.Context, keys string, want sums) error {
	return p.on(func(db *sql.DB) error {
		var got sums
		err := db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM `+keys+`), (SELECT count(*) FROM posting),
(SELECT count(*) FROM account), (SELECT coalesce(sum(amount_minor), 0) FROM entry),
(SELECT coalesce(sum(account_id * balance_minor), 0) FROM account), (SELECT coalesce(sum(transactions), 0) FROM account)`).
			Scan(&got.entries, &got.keys, &got.postings, &got.accounts, &got.moved, &got.weighed, &got.transactions)
		if err == nil && got != want {
			err = fmt.Errorf("the tables come to %+v, want %+v", got, want)
		}
		return err
	})
}

// The tables of business keys, of the framework and by hand.
const (
	viewKeys = "waltz_keys"
	handKeys = "hand_keys"
)

// marks are the rows of the mark's table by hand, for so many partitions.
func marks() string {
	rows := make([]string, PartitionsMax)
	for p := range rows {
		rows[p] = fmt.Sprintf("(%d, -1)", p)
	}
	return "INSERT INTO hand_marks (partition_no, high_water_mark) VALUES " + strings.Join(rows, ", ")
}

// onView makes a view of what a database's package offers.
func onView[Tx, S any](v *applier.Applier[Tx, S], err error) (view, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}
