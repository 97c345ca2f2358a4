package dbtest_test

import (
	"context"
	"database/sql"
	"net/url"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/internal/dbtest"
)

var servers dbtest.Servers

func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }

func setting(t *testing.T, address, name string) (value string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close(context.Background())) }()
	require.NoError(t, c.QueryRow(t.Context(), "SELECT current_setting($1)", pgx.QueryExecModeExec, name).Scan(&value))
	return value
}

func TestPostgreSQLIsDurable(t *testing.T) {
	address := servers.PostgreSQL(t).NewDatabase(t)
	for _, name := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		require.Equal(t, "on", setting(t, address, name), name)
	}
}

func TestPgBouncerLeadsToItsServer(t *testing.T) {
	pg := servers.PostgreSQL(t)
	u, err := url.Parse(pg.NewDatabase(t))
	require.NoError(t, err)
	u.Host = dbtest.PgBouncer(t, pg, "transaction").Addr()
	require.Equal(t, "on", setting(t, u.String(), "fsync"))
}

func open(t *testing.T, address string) *sql.DB {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	password, _ := u.User.Password()
	db, err := sql.Open("mysql", (&mysql.Config{User: u.User.Username(), Passwd: password, Net: "tcp", Addr: u.Host, DBName: u.Path[1:], AllowNativePasswords: true, Logger: &mysql.NopLogger{}}).FormatDSN())
	require.NoError(t, err)
	db.SetMaxIdleConns(0) // none is left from before a kill
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func TestMariaDBIsDurable(t *testing.T) {
	db := open(t, servers.MariaDB(t).NewDatabase(t))
	var flush int
	require.NoError(t, db.QueryRow("SELECT @@innodb_flush_log_at_trx_commit").Scan(&flush))
	require.Equal(t, 1, flush)
}

// What was committed before a kill is there after it; a pause answers nobody.
func TestServersEndAndComeBack(t *testing.T) {
	for name, s := range map[string]*dbtest.Server{"postgres": servers.PostgreSQL(t), "mariadb": servers.MariaDB(t)} {
		t.Run(name, func(t *testing.T) {
			var one func(ctx context.Context, query string) error
			address := s.NewDatabase(t)
			if name == "mariadb" {
				db := open(t, address)
				one = func(ctx context.Context, query string) error { _, err := db.ExecContext(ctx, query); return err }
			} else {
				one = func(ctx context.Context, query string) error {
					c, err := pgx.Connect(ctx, address)
					if err != nil {
						return err
					}
					defer c.Close(context.Background())
					_, err = c.Exec(ctx, query)
					return err
				}
			}
			require.NoError(t, one(t.Context(), "CREATE TABLE kept (a int)"))
			require.NoError(t, s.Kill())
			require.False(t, s.Running())
			require.Error(t, one(t.Context(), "SELECT * FROM kept"))
			require.NoError(t, s.Start())
			require.NoError(t, one(t.Context(), "INSERT INTO kept VALUES (1)"))
			require.NoError(t, s.Stop())
			require.NoError(t, s.Start())
			require.NoError(t, s.Pause())
			ended := make(chan error, 1)
			go func() { ended <- one(context.Background(), "SELECT * FROM kept") }()
			select {
			case err := <-ended:
				t.Error("a paused server answered", err)
			default:
			}
			require.NoError(t, s.Resume())
			require.NoError(t, <-ended)
		})
	}
}
