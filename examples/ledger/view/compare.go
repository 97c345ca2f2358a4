package view

import (
	"context"
	"fmt"
	"strings"
)

// tables are the ledger's, with the columns that order their rows.
var tables = []struct{ name, key string }{
	{"account", "account_id"},
	{"entry", "partition_no, id"},
	{"posting", "account_id, id"},
	{"crossing", "origin_partition, origin_id"},
}

// Compare reports the first difference between the tables of two views in each
// table, as text for people; none means that they are equal, row by row.
func Compare(ctx context.Context, got, want Querier) (differences []string, err error) {
	for _, t := range tables {
		difference, err := compare(ctx, got, want, "SELECT * FROM "+t.name+" ORDER BY "+t.key)
		if err != nil {
			return nil, fmt.Errorf("compare table %s: %w", t.name, err)
		}
		if difference != "" {
			differences = append(differences, fmt.Sprintf("table %s: %s", t.name, difference))
		}
	}
	return differences, nil
}

func compare(ctx context.Context, got, want Querier, query string) (string, error) {
	g, err := got(ctx, query)
	if err != nil {
		return "", err
	}
	defer func() { _ = g.Close() }() // only read
	w, err := want(ctx, query)
	if err != nil {
		return "", err
	}
	defer func() { _ = w.Close() }()
	for row := 1; ; row++ {
		have, err := nextRow(g)
		if err != nil {
			return "", err
		}
		should, err := nextRow(w)
		if err != nil {
			return "", err
		}
		if have != should {
			return fmt.Sprintf("row %d is %s, a replay of the log has %s", row, orMissing(have), orMissing(should)), nil
		}
		if have == "" {
			return "", nil
		}
	}
}

// nextRow writes a row as text, or "" after the last one.
func nextRow(rows Rows) (string, error) {
	if !rows.Next() {
		return "", rows.Err()
	}
	columns := rows.Columns()
	values, to := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		to[i] = &values[i]
	}
	if err := rows.Scan(to...); err != nil {
		return "", err
	}
	var text strings.Builder
	for i, v := range values {
		fmt.Fprintf(&text, " %s=%v", columns[i], v)
	}
	return "(" + text.String()[1:] + ")", nil
}

func orMissing(row string) string {
	if row == "" {
		return "none"
	}
	return row
}
