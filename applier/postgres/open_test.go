package postgres

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
	"github.com/waltz-log/waltz/applier/appliertest"
	"github.com/waltz-log/waltz/migrations"
)

func TestAddresses(t *testing.T) {
	for address, is := range map[string]bool{
		"postgres://u:p@h:1/d": true, "postgresql://h/d": true, "Postgres:x": true, "postgres": false, "mysql://h/d": false, "sqlite:///x": false, "": false,
	} {
		require.Equal(t, is, IsURL(address), address)
	}
	for _, address := range []string{"", "mysql://u:secret@h:1/d", "postgres://u:secret@h:x/d", "postgres://u:secret@h/d?pool_max_conns=none", "host=h password=secret"} {
		_, err := OpenLog(t.Context(), appliertest.NewLog("l", 1), address, applier.Options{Name: "v"})
		require.Error(t, err, address)
		require.NotContains(t, err.Error(), "secret")
	}
}

func TestOpenRefuses(t *testing.T) {
	log := appliertest.NewLog("l", 1)
	h := applier.On(hitKind, applyHit)
	pg := servers.PostgreSQL(t)

	address := pg.NewDatabase(t)
	_, err := OpenLog(t.Context(), log, address, applier.Options{Name: "v", Migrate: applier.MigrateCheck}, h)
	var pending *migrations.SchemaError
	require.ErrorAs(t, err, &pending)

	admin := connect(t, pg.URL("postgres"))
	_, err = admin.Exec(t.Context(), "CREATE DATABASE latin ENCODING 'SQL_ASCII' TEMPLATE template0")
	require.NoError(t, err)
	_, err = OpenLog(t.Context(), log, pg.URL("latin"), applier.Options{Name: "v"}, h)
	require.ErrorContains(t, err, "SQL_ASCII: want UTF8")

	_, err = OpenLog(t.Context(), log, pg.URL("nowhere"), applier.Options{Name: "v"}, h)
	require.ErrorContains(t, err, "nowhere")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = OpenLog(t.Context(), log, "postgres://u:secret@"+l.Addr().String()+"/d?sslmode=disable", applier.Options{Name: "v"}, h)
	require.ErrorContains(t, err, l.Addr().String())
	require.NotContains(t, err.Error(), "secret")

	_, err = OpenLog(t.Context(), log, address, applier.Options{}, h)
	require.ErrorContains(t, err, "name")
}

// What an operator sees of a view's connections, and what ends them if they hang.
func TestConnectionsAreNamedAndBounded(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	b := newBench(t, address+"&statement_timeout=1234")
	require.Equal(t, int64(1), b.count("SELECT count(DISTINCT application_name) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waltz bench'"))
	for setting, want := range map[string]string{"statement_timeout": "1234ms", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "10s"} {
		var got string
		require.NoError(t, b.writers.QueryRow(t.Context(), "SELECT current_setting($1)", setting).Scan(&got))
		require.Equal(t, want, got)
	}
	require.Equal(t, int32(writersMax), b.writers.Config().MaxConns)
	d, err := openDatabase(t.Context(), address+"&pool_max_conns=3", "v")
	require.NoError(t, err)
	require.Equal(t, int32(3), d.writers.Config().MaxConns)
	require.NoError(t, d.Close())
}

func TestOpenLetters(t *testing.T) {
	b := newBench(t, servers.PostgreSQL(t).NewDatabase(t))
	l, err := OpenLetters(t.Context(), b.address)
	require.NoError(t, err)
	rows, err := l.Rows(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, []applier.Row{b.row}, rows)
	require.NoError(t, l.Close())
}
