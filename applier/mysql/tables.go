package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Columns that are compared byte by byte: under another collation two keys or
// names could be one.
var binaryColumns = []string{
	"waltz_high_water_marks.name", "waltz_high_water_marks.owner", "waltz_high_water_marks.log_id",
	"waltz_keys.business_key", "waltz_dead_letters.name",
}

const (
	listTables = `
SELECT table_name, coalesce(engine, '') FROM information_schema.tables
WHERE table_schema = database() AND table_type = 'BASE TABLE' AND engine <> 'InnoDB' ORDER BY table_name`
	listColumns = `
SELECT concat(table_name, '.', column_name), data_type, coalesce(collation_name, '') FROM information_schema.columns
WHERE table_schema = database() AND table_name LIKE 'waltz\_%'`
)

// checkTables refuses tables of the framework that are not transactional or
// don't compare bytes, whoever made them so. Other tables that are not
// transactional are reported: what a handler writes there stays when its SQL
// transaction is rolled back.
func checkTables(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	var wrong []error
	err := each(ctx, db, listTables, func(rows *sql.Rows) error {
		var table, engine string
		if err := rows.Scan(&table, &engine); err != nil {
			return err
		}
		if strings.HasPrefix(table, "waltz_") {
			wrong = append(wrong, &SettingError{"engine of table " + table, engine, "InnoDB", "ALTER TABLE " + table + " ENGINE=InnoDB"})
		} else if log != nil {
			log.Warn("table is not transactional: what a handler writes there is not rolled back with its SQL transaction", "table", table, "engine", engine)
		}
		return nil
	})
	if err != nil {
		return err
	}
	columns := make(map[string]bool)
	for _, c := range binaryColumns {
		columns[c] = true
	}
	err = each(ctx, db, listColumns, func(rows *sql.Rows) error {
		var column, kind, collation string
		if err := rows.Scan(&column, &kind, &collation); err != nil {
			return err
		}
		if columns[column] && kind != "varbinary" && !strings.HasSuffix(collation, "_bin") {
			table, _, _ := strings.Cut(column, ".")
			wrong = append(wrong, &SettingError{
				"collation of column " + column, collation, "utf8mb4_bin",
				"ALTER TABLE " + table + " CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
			})
		}
		return nil
	})
	return errors.Join(append(wrong, err)...)
}

func each(ctx context.Context, db *sql.DB, query string, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return fmt.Errorf("read information_schema: %w", err)
		}
	}
	return rows.Err()
}
