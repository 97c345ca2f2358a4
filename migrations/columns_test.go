package migrations_test

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/record"
	"github.com/waltz-log/waltz/migrations"
)

// placeholders of one row.
func (db *database) placeholders(n int) string {
	if db.dialect == migrations.Postgres {
		return "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10"[:4*n-2]
	}
	return strings.Repeat(", ?", n)[2:]
}

// Keys are bytes: whatever differs in one is another key, and comes back as it was.
func TestKeysAreBytes(t *testing.T) {
	every := make([]byte, record.KeyMax)
	for i := range every {
		every[i] = byte(i + 1)
	}
	keys := []string{
		"k", "K", "k ", "k  ", " k", "ß", "ss", "SS", "é", "e\u0301", "", "\x00", "\x00\x00", "k\x00", "\xff\xfe",
		string(every), strings.Repeat(" ", record.KeyMax), strings.Repeat("\x00", record.KeyMax),
	}
	onAll(t, func(t *testing.T, db *database) {
		db.up(t)
		argument := func(key string) any {
			if db.dialect == migrations.SQLite {
				return key
			}
			return []byte(key)
		}
		for i, key := range keys {
			_, err := db.Exec("INSERT INTO waltz_keys VALUES ("+db.placeholders(3)+")", int64(math.MaxInt64), argument(key), int64(i))
			require.NoError(t, err, "%q", key)
		}
		find := "SELECT transaction_id, business_key FROM waltz_keys WHERE business_key = " + db.placeholders(1)
		for i, key := range keys {
			var id int
			var found []byte
			require.NoError(t, db.QueryRow(find, argument(key)).Scan(&id, &found), "%q", key)
			require.Equal(t, i, id, "%q", key)
			require.Equal(t, []byte(key), append([]byte{}, found...))
		}
		_, err := db.Exec("INSERT INTO waltz_keys VALUES ("+db.placeholders(3)+")", int64(math.MaxInt64), argument("k"), int64(99))
		require.Error(t, err, "a key is there once")
	})
}

// insertRow inserts a row of a view, all of whose numbers are as large as they come.
func (db *database) insertRow(t *testing.T, name string) error {
	t.Helper()
	rows, err := db.Query("SELECT * FROM waltz_high_water_marks")
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	require.NoError(t, rows.Err())
	now := map[migrations.Dialect]string{migrations.SQLite: "0", migrations.Postgres: "now()", migrations.MySQL: "utc_timestamp(3)"}[db.dialect]
	var values []string
	for _, c := range columns[1:] {
		switch c {
		case "name":
			values = append(values, "'"+name+"'")
		case "version", "partition":
			values = append(values, "2147483647")
		case "owner", "log_id", "meaning_hash", "state", "last_error_code":
			values = append(values, "''")
		case "lease_until", "updated_at":
			values = append(values, now)
		default:
			values = append(values, "9223372036854775807")
		}
	}
	list := strings.Join(columns[1:], ", ")
	if db.dialect == migrations.MySQL {
		list = strings.Replace(list, "partition", "`partition`", 1)
	}
	_, err = db.Exec("INSERT INTO waltz_high_water_marks (" + list + ") VALUES (" + strings.Join(values, ", ") + ")")
	return err
}

// Names of views are told apart by their case, and a partition of a view has one
// row, which somebody has to insert.
func TestHighWaterMarkRows(t *testing.T) {
	onAll(t, func(t *testing.T, db *database) {
		db.up(t)
		require.Equal(t, []string{"0"}, db.column(t, "SELECT count(*) FROM waltz_high_water_marks"))
		for _, name := range []string{"balances", "Balances", strings.Repeat("b", 64)} {
			require.NoError(t, db.insertRow(t, name))
		}
		require.Error(t, db.insertRow(t, "balances"))
		require.Equal(t, []string{"3"}, db.column(t, "SELECT count(DISTINCT number) FROM waltz_high_water_marks"))
	})
}

// On MySQL and MariaDB tables are transactional and compare bytes whatever the
// server's or the database's defaults are.
func TestMySQLDefaultsDoNotMatter(t *testing.T) {
	db := newDatabase(t, migrations.MySQL)
	db.exec(t, "ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_german2_ci")
	db.with(t, "default_storage_engine=MyISAM&sql_mode=ANSI_QUOTES").up(t)
	require.Empty(t, db.column(t, "SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND engine <> 'InnoDB'"))
	require.Empty(t, db.column(t, "SELECT concat(table_name, '.', column_name) FROM information_schema.columns WHERE table_schema = database() AND collation_name <> 'utf8mb4_bin'"))
}
