package postgres

import (
	"cmp"
	"reflect"
	"slices"
)

// Arrays turns rows into columns, as arguments for unnest: a slice for each
// exported field of T, a struct, in order. So a handler for batches writes thousands
// of rows with one statement, whose text is always the same:
//
//	type entry struct { ID, Account, Amount int64 }
//
//	tx.Queue(ctx, `INSERT INTO entries (id, account, amount)
//		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[])`, postgres.Arrays(rows)...)
//
// A field that may be NULL is a pointer.
func Arrays[T any](rows []T) []any {
	fields := reflect.VisibleFields(reflect.TypeFor[T]())
	fields = slices.DeleteFunc(fields, func(f reflect.StructField) bool { return !f.IsExported() || f.Anonymous })
	columns := make([]any, len(fields))
	values := reflect.ValueOf(rows)
	for i, f := range fields {
		column := reflect.MakeSlice(reflect.SliceOf(f.Type), len(rows), len(rows))
		for r := range rows {
			column.Index(r).Set(values.Index(r).FieldByIndex(f.Index))
		}
		columns[i] = column.Interface()
	}
	return columns
}

// Fold makes one row of those that have the same key, in their order: add is called with
// the first and each one after it. The rows come out ascending by key.
//
// Both are needed in front of an upsert. ON CONFLICT DO UPDATE must not meet a row
// twice, and partitions that write one table in different orders wait for each
// other until the server ends one of them. The rows that come in are used up.
func Fold[T any, K cmp.Ordered](rows []T, key func(*T) K, add func(total, row *T)) []T {
	type total struct {
		key K
		row int
	}
	seen := make(map[K]int, len(rows))
	var totals []total
	for i := range rows {
		k := key(&rows[i])
		if first, has := seen[k]; has {
			add(&rows[first], &rows[i])
			continue
		}
		seen[k] = i
		totals = append(totals, total{k, i})
	}
	slices.SortFunc(totals, func(a, b total) int { return cmp.Compare(a.key, b.key) })
	out := make([]T, len(totals))
	for i, t := range totals {
		out[i] = rows[t.row]
	}
	return out
}
