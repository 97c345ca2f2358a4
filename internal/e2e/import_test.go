package e2e

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier/mysql"
	"github.com/waltz-log/waltz/applier/postgres"
	"github.com/waltz-log/waltz/internal/dbtest"
)

// bankRows is a file to import and the balances that it comes to: the bank's own where
// it lies beside the checkout, else rows of the same form made here.
func bankRows(t *testing.T, ledger string) (trans, balances string) {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "data", "berka")
	if _, err := os.Stat(filepath.Join(dir, "trans.asc")); err != nil {
		dir = t.TempDir()
		_, stderr, code := output(t, ledger, "generate", "--rows", "20000", "--seed", "1993", "--dir", dir)
		require.Zero(t, code, stderr)
	}
	t.Logf("rows of %s", dir)
	expected, err := os.ReadFile(filepath.Join(dir, "expected-balances.csv"))
	require.NoError(t, err)
	_, rows, _ := strings.Cut(string(expected), "\n")
	return filepath.Join(dir, "trans.asc"), rows
}

// The bank's rows are imported through one log, while the process that imports and
// applies, the database and the log are killed in turn. The balances come out
// exactly as expected (I1, I4, I7).
func testImportWithKills(t *testing.T, server *dbtest.Server, open func(string) (*sql.DB, error)) {
	log := newServer(t, 3)
	address := server.NewDatabase(t)
	ledger := command(t, "./examples/ledger")
	trans, expected := bankRows(t, ledger)
	args := []string{"import", "--log", log.url(), "--db", address, "--allow-overdraft", "--output", "json", "--log-level", "error", trans}
	db, err := open(address)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	shown := func() (n int) {
		if db.QueryRowContext(t.Context(), "SELECT count(*) FROM entry").Scan(&n) != nil {
			return 0 // there is none yet, or it is down
		}
		return n
	}
	lines, err := os.ReadFile(trans)
	require.NoError(t, err)
	total := strings.Count(string(lines), "\n") - 1

	run := start(t, "import", nil, ledger, args...)
	const kills = 9
	for kill := range kills {
		at := (kill + 1) * total / (kills + 2)
		eventually(t, strconv.Itoa(at)+" rows in the view", func() bool { return shown() >= at })
		switch kill % 3 {
		case 0:
			run.kill()
			run = start(t, "import", nil, ledger, args...)
		case 1:
			require.NoError(t, server.Kill())
			require.NoError(t, server.Start())
		case 2:
			log.kill()
			log.start()
		}
	}
	run.wait(t)
	stdout, stderr, code := output(t, ledger, "balances", "--db", address)
	require.Zero(t, code, stderr)
	header, rows, _ := strings.Cut(stdout, "\n")
	require.Equal(t, "account_id,transactions,balance_minor", header)
	require.Equal(t, strings.TrimSpace(expected), strings.TrimSpace(rows))

	stdout, stderr, code = output(t, ledger, "check", "--log", log.url(), "--db", address, "--output", "json")
	require.Zero(t, code, "%s\n%s", stdout, stderr)
	var r struct {
		Check        string `json:"check"`
		Transactions int    `json:"transactions"`
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &r))
	require.Equal(t, "ok", r.Check)
	require.Equal(t, total, r.Transactions)
}

func TestImportOnPostgreSQLWithKills(t *testing.T) {
	testImportWithKills(t, dbtest.PostgreSQL(t), postgres.OpenDB)
}

func TestImportOnMariaDBWithKills(t *testing.T) {
	testImportWithKills(t, dbtest.MariaDB(t), mysql.OpenDB)
}
