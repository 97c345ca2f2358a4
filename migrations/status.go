package migrations

import (
	"context"
	"errors"
	"fmt"
)

// Status returns all migrations of this module with what the database has of
// them. It changes nothing, and needs no more than the right to read.
func (m *Migrator) Status(ctx context.Context) ([]Migration, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Migration, len(m.known))
	for i, k := range m.known {
		out[i] = k
		out[i].Applied = applied[k.Version]
	}
	return out, nil
}

// HasPending reports whether Up would do something: the readiness gate.
func (m *Migrator) HasPending(ctx context.Context) (bool, error) {
	status, err := m.Status(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range status {
		if !s.Applied {
			return true, nil
		}
	}
	return false, nil
}

// Version returns the version of the database's schema; 0 if there is none.
func (m *Migrator) Version(ctx context.Context) (int64, error) {
	applied, err := m.applied(ctx)
	if err != nil {
		return 0, err
	}
	latest := int64(0)
	for v := range applied {
		latest = max(latest, v)
	}
	return latest, nil
}

// Check returns a [*SchemaError] if the schema is not exactly what this module
// knows: older or newer. It changes nothing.
func (m *Migrator) Check(ctx context.Context) error {
	version, err := m.Version(ctx)
	if err != nil {
		return err
	}
	status, err := m.Status(ctx)
	if err != nil {
		return err
	}
	e := &SchemaError{Database: version, Known: m.Known(), hidden: version == 0 && m.dialect == MySQL}
	for _, s := range status {
		if !s.Applied {
			e.Pending = append(e.Pending, s)
		}
	}
	if version > e.Known || len(e.Pending) > 0 {
		return e
	}
	return nil
}

func pending(err error) bool {
	e, is := errors.AsType[*SchemaError](err)
	return is && e.Database <= e.Known
}

// find looks for the version table: it returns the schema where new tables are made,
// and the one where that name leads to; "" if there is none.
var find = map[Dialect]string{
	SQLite: "SELECT 'main', coalesce((SELECT 'main' FROM sqlite_master WHERE type = 'table' AND name = '" + VersionTable + "'), '')",
	Postgres: "SELECT coalesce(current_schema(), ''), coalesce((SELECT n.nspname FROM pg_catalog.pg_class c " +
		"JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('" + VersionTable + "')), '')",
	MySQL: "SELECT coalesce(database(), ''), coalesce((SELECT table_schema FROM information_schema.tables " +
		"WHERE table_schema = database() AND table_name = '" + VersionTable + "'), '')",
}

// exists reports whether there is a version table. One that is found by way of
// search_path in another schema than the first is refused: an update would make
// the tables again, empty, and everything would be applied to the view once more.
func (m *Migrator) exists(ctx context.Context) (bool, error) {
	var current, found string
	if err := m.db.QueryRowContext(ctx, find[m.dialect]).Scan(&current, &found); err != nil {
		return false, fmt.Errorf("migrations: look for %s: %w", VersionTable, err)
	}
	switch {
	case current == "" && m.dialect == Postgres:
		return false, errors.New("migrations: no schema to work in: search_path names none that exists and that this user may use")
	case current == "":
		return false, errors.New("migrations: no database to work in: the address names none")
	case found != "" && found != current:
		return false, fmt.Errorf("migrations: %s is in schema %s, but new tables would be made in %s: connect with search_path=%s, or with search_path=%s alone to make others there",
			VersionTable, found, current, found, current)
	}
	return found != "", nil
}

// applied reads the version table, if there is one. goose would create it.
func (m *Migrator) applied(ctx context.Context) (map[int64]bool, error) {
	if there, err := m.exists(ctx); err != nil || !there {
		return nil, err
	}
	rows, err := m.db.QueryContext(ctx, "SELECT version_id FROM "+VersionTable+" WHERE version_id > 0")
	if err != nil {
		return nil, fmt.Errorf("migrations: read %s: %w", VersionTable, err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	applied := make(map[int64]bool)
	for rows.Next() {
		var v int64
		if err := rows.Scan(&v); err != nil {
			return nil, fmt.Errorf("migrations: read %s: %w", VersionTable, err)
		}
		applied[v] = true
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("migrations: read %s: %w", VersionTable, err)
	}
	return applied, nil
}
