package mysql

import (
	"fmt"
	"strings"
)

// Insert describes rows that are new: one that is there already is an error (1062).
// They are inserted in the order they are added in, which is best the order of the
// primary key. Describe it once and use it from anywhere.
type Insert struct {
	Table   string
	Columns []string
}

// For makes a set of rows to be inserted.
func (i Insert) For(tx *Tx) *Set {
	return tx.set(shape{
		statement: statement{head: insertHead(i.Table, i.Columns)},
		table:     i.Table, puts: len(i.Columns),
	})
}

// Upsert describes rows that are inserted, or changed if they are there. Rows of one
// key may be added many times: they are written once. The key has to be the table's only
// unique one, or the row that is changed may be another than the one meant.
// A row's values are in the order Key, Put, Add, Keep.
type Upsert struct {
	Table string
	Key   []string // columns of the primary key
	Put   []string // columns that get the value of the last row
	Add   []string // columns of integers that the values of all rows are added to
	Keep  []string // columns that get the value of the first row, if it is new
}

// For makes a set of rows to be inserted or changed.
func (u Upsert) For(tx *Tx) *Set { return tx.set(u.shape(tx.server)) }

// rows makes a set for the framework itself.
func (u Upsert) rows(s server, max int) *Set { return &Set{shape: u.shape(s), max: max} }

func (u Upsert) shape(s server) shape {
	columns := append(append(append(append([]string{}, u.Key...), u.Put...), u.Add...), u.Keep...)
	var changes []string
	for _, c := range u.Put {
		changes = append(changes, quote(c)+" = "+s.inserted(quote(c)))
	}
	for _, c := range u.Add {
		changes = append(changes, fmt.Sprintf("%s = %s.%[1]s + %[3]s", quote(c), quote(u.Table), s.inserted(quote(c))))
	}
	if len(changes) == 0 { // it changes nothing, and is not an error
		changes = append(changes, fmt.Sprintf("%s = %s.%[1]s", quote(u.Key[0]), quote(u.Table)))
	}
	return shape{
		statement: statement{
			head: insertHead(u.Table, columns),
			tail: s.upsertAlias() + " ON DUPLICATE KEY UPDATE " + strings.Join(changes, ", "),
		},
		table: u.Table, keys: len(u.Key), puts: len(u.Put), adds: len(u.Add), keeps: len(u.Keep), ordered: true,
	}
}

func insertHead(table string, columns []string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = quote(c)
	}
	return "INSERT INTO " + quote(table) + " (" + strings.Join(quoted, ", ") + ") VALUES "
}

// Update describes changes of rows that are there: one that isn't makes Exec fail with
// a [*MissingRowsError]. Changes of one key may be added many times: they are written
// once. Keys are integers. A row's values are in the order Key, Put, Add.
type Update struct {
	Table string
	Key   []string // columns of the primary key, or a part of it that is unique
	Put   []string // columns that get the value of the last row
	Add   []string // columns of integers that the values of all rows are added to
}

// For makes a set of changes.
func (u Update) For(tx *Tx) *Set { return tx.set(u.shape(tx.server)) }

func (u Update) shape(s server) shape {
	var changes []string
	for i, c := range u.Put {
		changes = append(changes, fmt.Sprintf("t.%s = n.p%d", quote(c), i))
	}
	for i, c := range u.Add {
		changes = append(changes, fmt.Sprintf("t.%s = t.%[1]s + n.a%d", quote(c), i))
	}
	return shape{
		statement: statement{
			head:     "UPDATE " + s.tableHead(len(u.Key), len(u.Put), len(u.Add)),
			tail:     joined(u.Table, u.Key) + " SET " + strings.Join(changes, ", "),
			before:   s.tableRow(),
			complete: true,
		},
		table: u.Table, keys: len(u.Key), puts: len(u.Put), adds: len(u.Add), ordered: true, numberKeys: true,
	}
}

// Delete describes rows that are deleted if they are there. Keys are integers.
type Delete struct {
	Table string
	Key   []string // columns of the primary key, or of any part of it
}

// For makes a set of keys whose rows are to be deleted.
func (d Delete) For(tx *Tx) *Set { return tx.set(d.shape(tx.server)) }

func (d Delete) shape(s server) shape {
	return shape{
		statement: statement{
			head:   "DELETE t FROM " + s.tableHead(len(d.Key), 0, 0),
			tail:   joined(d.Table, d.Key),
			before: s.tableRow(),
		},
		table: d.Table, keys: len(d.Key), ordered: true, numberKeys: true,
	}
}

// tableHead begins the rows as a table n with columns k0.., p0.., a0... The SELECT
// that finds nothing gives the names: a VALUES of MariaDB can't.
func (s server) tableHead(keys, puts, adds int) string {
	var columns []string
	for i := range keys {
		columns = append(columns, fmt.Sprintf("0 AS k%d", i))
	}
	for i := range puts {
		columns = append(columns, fmt.Sprintf("NULL AS p%d", i))
	}
	for i := range adds {
		columns = append(columns, fmt.Sprintf("0 AS a%d", i))
	}
	return "(SELECT " + strings.Join(columns, ", ") + " FROM DUAL WHERE false UNION ALL VALUES "
}

// joined ends the table n, and finds its rows one after the other in their order.
func joined(table string, key []string) string {
	var on []string
	for i, c := range key {
		on = append(on, fmt.Sprintf("t.%s = n.k%d", quote(c), i))
	}
	return ") AS n STRAIGHT_JOIN " + quote(table) + " AS t ON " + strings.Join(on, " AND ")
}
