package guard

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	errFirst  = errors.New("first")
	errSecond = errors.New("second")
)

func TestGuardRemembersTheFirstError(t *testing.T) {
	var g Guard
	require.NoError(t, g.Open())
	require.Equal(t, errFirst, g.Fail(errFirst))
	require.ErrorIs(t, g.Open(), errFirst)
	require.Equal(t, errSecond, g.Fail(errSecond))
	require.Equal(t, errFirst, g.End(nil), "it was swallowed")
	var escape *EscapeError
	require.ErrorAs(t, g.Open(), &escape)
}

func TestGuardReturnsTheHandlersError(t *testing.T) {
	var g Guard
	_ = g.Fail(errFirst)
	require.Equal(t, errSecond, g.End(errSecond))
	require.NoError(t, new(Guard).End(nil))
}

func TestStatements(t *testing.T) {
	for _, query := range []string{
		"SELECT 1", "select 1;", " \n\t/* a ; b */ -- c ; d\n INSERT INTO t VALUES ('a;b', \"c;d\", `e;f`, [g;h])",
		"UPDATE t SET a = 1 -- ; COMMIT", "UPDATE t SET a = 1; -- COMMIT", "DELETE FROM t /* ; */", "WITH x AS (SELECT 1) SELECT * FROM x",
		"REPLACE INTO t VALUES (1)", "VALUES (1), (2)", "(SELECT 1)", "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
		"SELECT 'it''s; fine'", "SELECT a - b / c FROM t", "# a comment of MySQL\nSELECT 1", "INSERT INTO commits VALUES (1)",
	} {
		require.NoError(t, Statement(query), query)
	}
}

func TestEscapes(t *testing.T) {
	for _, query := range []string{
		"", " ", "-- only a comment", "COMMIT", "commit;", "/**/ROLLBACK", "\v\fBEGIN", ";COMMIT", "START TRANSACTION", "END", "ABORT", "SAVEPOINT a",
		"RELEASE a", "CREATE TABLE t (a int)", "ALTER TABLE t ADD b int", "DROP TABLE t", "TRUNCATE t", "RENAME TABLE a TO b", "GRANT ALL ON t TO u",
		"LOCK TABLES t WRITE", "SET autocommit = 1", "PRAGMA journal_mode = off", "ATTACH 'x' AS y", "VACUUM", "CALL p()", "DO 1", "XA START 'a'",
		"PREPARE s FROM 'COMMIT'", "EXECUTE s", "/*!50000 COMMIT */", "/*M! COMMIT */", "SELECT 1; COMMIT", "SELECT 1;;;/* */COMMIT",
		"SELECT ';' ; DELETE FROM t", "SELECT 1 -- x\n; COMMIT", "SELECTED", "INSERTX INTO t VALUES (1)",
	} {
		var escape *EscapeError
		require.ErrorAs(t, Statement(query), &escape, query)
	}
}

// Whatever a text hides in quotes and comments, one that holds a ';' followed by a
// word outside of them is refused, and the scanner ends.
func FuzzStatement(f *testing.F) {
	for _, seed := range []string{"SELECT 1", "SELECT ';'", "/* */ SELECT", "SELECT [a", "--", "/*", "'", "SELECT 1; COMMIT"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		err := Statement(query)
		if err == nil && !strings.ContainsAny(query, "'\"`[-/#") {
			first, rest, _ := strings.Cut(query, ";")
			if strings.Trim(rest, "; \t\r\n\f\v(") != "" || strings.Trim(first, " \t\r\n\f\v(") == "" {
				t.Fatalf("%q was let through", query)
			}
		}
	})
}
