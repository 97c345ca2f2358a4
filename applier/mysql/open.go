package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/migrations"
	"github.com/waltz-log/waltz/waltz"
)

// View is an applier on MariaDB or MySQL.
type View = applier.Applier[*Tx, *Snapshot]

// Handler applies one kind of transaction on MariaDB or MySQL; applier.On makes one.
type Handler = applier.Handler[*Tx]

// Open opens the view in a database, which must exist, and brings the framework's
// tables up to date or checks them. addr is mysql://user:password@host:port/database
// with parameters: see the package's comment.
//
// Errors: the database's, [*SettingError] for a server or setting that can't be worked
// with, migrations' [*migrations.SchemaError], and those of [applier.Open].
func Open(ctx context.Context, client *waltz.Client, addr string, o applier.Options, handlers ...Handler) (*View, error) {
	return OpenLog(ctx, applier.FromClient(client), addr, o, handlers...)
}

// OpenLog is Open on any log: a test's, or one that is read in another way.
func OpenLog(ctx context.Context, log applier.Log, addr string, o applier.Options, handlers ...Handler) (*View, error) {
	a, err := parse(addr)
	if err != nil {
		return nil, err
	}
	if err := a.migrate(ctx, o); err != nil {
		return nil, fmt.Errorf("open %s: %w", a.text, err)
	}
	db, err := a.database(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", a.text, err)
	}
	return applier.Open(ctx, log, db, o, handlers...)
}

// OpenDB opens a pool of database/sql, with the settings that the applier's own
// connections have: for the application's migrations and for reading beside the view.
// The caller closes it. It does not connect yet.
func OpenDB(addr string) (*sql.DB, error) {
	a, err := parse(addr)
	if err != nil {
		return nil, err
	}
	return a.pool(writes, readsMax)
}

// idleMin is how long an SQL transaction may be silent where no lease says so: a
// process that was stopped in the middle of one holds up the others that long.
const idleMin = 30 * time.Second

// idleSeconds is how long the server lets an SQL transaction be silent. Whoever is
// silent for longer than its lease has lost it anyway.
func idleSeconds(o applier.Options) int {
	idle := idleMin
	if o.HA == applier.Lease {
		idle = o.LeaseDuration
		if idle == 0 {
			idle = 10 * time.Second
		}
	}
	return int((idle + time.Second - 1) / time.Second)
}

// database connects, and checks what is there.
func (a *address) database(ctx context.Context, o applier.Options) (*database, error) {
	if a.session.idle == 0 {
		a.session.idle = idleSeconds(o)
	}
	w, err := a.pool(writes, writesMax)
	if err != nil {
		return nil, err
	}
	r, err := a.pool(reads, readsMax)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	d := &database{address: a.text, writes: w, reads: r}
	if err := d.look(ctx, o.Logger); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if d.endsIdleConnections() {
		w.SetConnMaxIdleTime(time.Duration(a.session.idle) * time.Second / 2)
	}
	return d, nil
}

// look finds out what the server is, and refuses what can't be worked with.
func (d *database) look(ctx context.Context, log *slog.Logger) error {
	f, err := askFacts(ctx, d.writes)
	if err != nil {
		return err
	}
	d.facts = f
	if f.flush != 1 && log != nil {
		log.Warn("the server does not sync its log at each commit: a loss of power takes back what was applied, and it is applied again; the marks go back with the data",
			"innodb_flush_log_at_trx_commit", f.flush)
	}
	return checkTables(ctx, d.writes, log)
}

func (a *address) migrate(ctx context.Context, o applier.Options) error {
	db, err := a.pool(writes, 2)
	if err != nil {
		return err
	}
	m, err := migrations.New(db, migrations.MySQL, migrations.Options{Logger: o.Logger})
	if err != nil {
		return errors.Join(err, db.Close())
	}
	if o.Migrate == applier.MigrateCheck {
		err = m.Check(ctx)
	} else {
		_, err = m.Up(ctx)
	}
	return errors.Join(err, db.Close())
}
