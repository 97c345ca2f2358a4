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
// other until the server ends one of them. It sorts rows in place.
func Fold[T any, K cmp.Ordered](rows []T, key func(*T) K, add func(total, row *T)) []T {
	slices.SortStableFunc(rows, func(a, b T) int { return cmp.Compare(key(&a), key(&b)) })
	n := 0
	for i := range rows {
		if n > 0 && key(&rows[n-1]) == key(&rows[i]) {
			add(&rows[n-1], &rows[i])
			continue
		}
		rows[n] = rows[i]
		n++
	}
	return rows[:n]
}
