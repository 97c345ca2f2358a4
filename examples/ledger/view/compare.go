package view

import (
	"context"
	"fmt"
	"strings"
)

// tables are the ledger's, and how their rows are read in order. The keys are the
// framework's: without them a transfer that is sent again would be booked twice.
var tables = []struct{ name, query string }{
	{"account", `SELECT account_id, partition_no, opened_on, closed_on, balance_minor, transactions
		FROM account ORDER BY account_id`},
	{"entry", `SELECT partition_no, id, kind, type, booked_on, amount_minor, from_account, to_account, allow_overdraft
		FROM entry ORDER BY partition_no, id`},
	{"posting", `SELECT account_id, id, booked_on, amount_minor FROM posting ORDER BY account_id, id`},
	{"crossing", `SELECT origin_partition, origin_id, from_account, to_account, amount_minor, booked_on, type, sent, credited, refused, returned, reason
		FROM crossing ORDER BY origin_partition, origin_id`},
	{"waltz_keys", `SELECT m.partition, k.business_key, k.transaction_id
		FROM waltz_keys k JOIN waltz_high_water_marks m ON m.number = k.number AND m.name = '` + Name + `' AND m.version = 1
		ORDER BY m.partition, k.transaction_id, k.business_key`},
}

// Compare reports the first difference between the tables of two views in each
// table, as text for people; none means that they are equal, row by row.
func Compare(ctx context.Context, got, want Querier) (differences []string, err error) {
	for _, t := range tables {
		difference, err := compare(ctx, got, want, t.query)
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
		if b, is := v.([]byte); is { // a text to some drivers, and keys in some databases
			v = string(b)
		}
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
