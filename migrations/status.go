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
	e := &SchemaError{Database: version, Known: m.Known()}
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

func newer(err error) bool {
	e, is := errors.AsType[*SchemaError](err)
	return is && e.Database > e.Known
}

func pending(err error) bool {
	e, is := errors.AsType[*SchemaError](err)
	return is && len(e.Pending) > 0
}

// exists finds a table in the current schema.
var exists = map[Dialect]string{
	SQLite:   "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = '" + VersionTable + "'",
	Postgres: "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = '" + VersionTable + "'",
	MySQL:    "SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = '" + VersionTable + "'",
}

// applied reads the version table, if there is one. goose would create it.
func (m *Migrator) applied(ctx context.Context) (map[int64]bool, error) {
	var tables int
	if err := m.db.QueryRowContext(ctx, exists[m.dialect]).Scan(&tables); err != nil {
		return nil, fmt.Errorf("migrations: look for %s: %w", VersionTable, err)
	}
	if tables == 0 {
		return nil, nil
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
