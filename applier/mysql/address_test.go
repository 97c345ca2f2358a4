package mysql

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
)

func TestAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"mysql://u:p@h:3307/db":                        "u:p@tcp(h:3307)/db",
		"mysql://u@h/db":                               "u@tcp(h:3306)/db",
		"MySQL:///db":                                  "tcp(127.0.0.1:3306)/db",
		"mysql://u:p%40%2F%3A@[::1]:3307/db":           "u:p@/:@tcp([::1]:3307)/db",
		"mysql://u@/db?socket=/run/mysqld/mysqld.sock": "u@unix(/run/mysqld/mysqld.sock)/db",
		"mysql://h/db?clientFoundRows=true&multiStatements=false&time_zone=%27%2B00:00%27": "tcp(h:3306)/db",
	} {
		a, err := parse(addr)
		require.NoError(t, err, addr)
		dsn := a.config.FormatDSN()
		require.Equal(t, want, dsn[:strings.Index(dsn, "?")], addr)
		require.True(t, a.config.ClientFoundRows && a.config.InterpolateParams && a.config.ParseTime && a.config.RejectReadOnly)
		require.False(t, a.config.MultiStatements || a.config.AllowAllFiles || a.config.ColumnsWithAlias)
		require.Equal(t, time.UTC, a.config.Loc)
		require.Zero(t, a.config.MaxAllowedPacket, "the server is asked")
		require.Equal(t, connectTimeout, a.config.Timeout)
		require.True(t, IsURL(addr))
	}
	require.False(t, IsURL("/a/mysql:/b"))
}

func TestFreeParameters(t *testing.T) {
	a, err := parse("mysql://h/db?timeout=2s&readTimeout=3s&collation=utf8mb4_bin&tls=skip-verify&innodb_lock_wait_timeout=3&idle_timeout=4&sql_mode=STRICT_ALL_TABLES,ANSI_QUOTES")
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, a.config.Timeout)
	require.Equal(t, 3*time.Second, a.config.ReadTimeout)
	require.Equal(t, "utf8mb4_bin", a.config.Collation)
	require.True(t, a.config.TLS.InsecureSkipVerify)
	require.Equal(t, session{mode: "STRICT_ALL_TABLES,ANSI_QUOTES", lockWait: 3, idle: 4}, a.session)
}

// What is wrong is refused with what to write instead, all at once, and without the
// password.
func TestWrongAddresses(t *testing.T) {
	for addr, want := range map[string]string{
		"mysql://u:secret@h/db?clientFoundRows=false":                             "write clientFoundRows=true: a row that was found",
		"mysql://u:secret@h/db?interpolateParams=false":                           "write interpolateParams=true",
		"mysql://u:secret@h/db?multiStatements=true":                              "write multiStatements=false: the text of a handler could hold a COMMIT",
		"mysql://u:secret@h/db?parseTime=false":                                   "write parseTime=true",
		"mysql://u:secret@h/db?loc=Europe%2FVienna":                               "write loc=UTC",
		"mysql://u:secret@h/db?time_zone=%27%2B01:00%27":                          "write time_zone='+00:00'",
		"mysql://u:secret@h/db?rejectReadOnly=false":                              "write rejectReadOnly=true",
		"mysql://u:secret@h/db?autocommit=0":                                      "write autocommit=true",
		"mysql://u:secret@h/db?transaction_isolation=SERIALIZABLE":                "write transaction_isolation='READ-COMMITTED'",
		"mysql://u:secret@h/db?charset=latin1":                                    "write charset=utf8mb4",
		"mysql://u:secret@h/db?allowAllFiles=true":                                "write allowAllFiles=false",
		"mysql://u:secret@h/db?collation=latin1_bin":                              "want one of utf8mb4's",
		"mysql://u:secret@h/db?sql_mode=ANSI":                                     "add STRICT_TRANS_TABLES",
		"mysql://u:secret@h/db?sql_mode=STRICT_TRANS_TABLES,NO_BACKSLASH_ESCAPES": "leave out NO_BACKSLASH_ESCAPES",
		"mysql://u:secret@h/db?innodb_lock_wait_timeout=0":                        "want 1 to 3600 seconds",
		"mysql://u:secret@h/db?idle_timeout=1s":                                   "want 1 to 3600 seconds",
		"mysql://u:secret@h/db?timeout=soon":                                      "invalid duration",
		"mysql://u:secret@h/db?tls=maybe":                                         "unknown config name",
		"mysql://u:secret@h/db?maxAlowedPacket=1":                                 "unknown parameter maxAlowedPacket=1",
		"mysql://u:secret@h/db?timeout=1s&timeout=2s":                             "timeout is given 2 times",
		"mysql://u:secret@h":                                                      "is no name of a database",
		"mysql://u:secret@h/a/b":                                                  "is no name of a database",
		"mysql://u:secret@h:port/db":                                              "invalid port",
		"mysql:h/db":                                                              "written as mysql://user:password@host:port/database",
		"postgres://u:secret@h/db":                                                "written as mysql://user:password@host:port/database",
		"u:secret@tcp(h)/db":                                                      "address of a database",
		"mysql://u:secret@h/db?%zz":                                               "invalid URL escape",
	} {
		_, err := parse(addr)
		require.ErrorContains(t, err, want, addr)
		require.NotContains(t, err.Error(), "secret", addr)
	}
	_, err := parse("mysql://h?multiStatements=true&loc=Local")
	for _, want := range []string{"multiStatements", "loc", "is no name"} {
		require.ErrorContains(t, err, want)
	}
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]string{
		"10.11.19-MariaDB-0+deb12u1": "MariaDB 10.11.19",
		"5.5.5-10.6.1-MariaDB-log":   "MariaDB 10.6.1",
		"11.4.2-MariaDB":             "MariaDB 11.4.2",
		"8.0.36-0ubuntu0.22.04.1":    "MySQL 8.0.36",
		"8.0.19":                     "MySQL 8.0.19",
		"8.4.0-log":                  "MySQL 8.4.0",
		"9.1.0":                      "MySQL 9.1.0",
		"8.0.mysql_aurora.3.04.0":    "MySQL 8.0.0: upgrade",
		"8.0.11-TiDB-v7.5.0":         "MySQL 8.0.11: upgrade",
		"5.7.44":                     "MySQL 5.7.44: upgrade",
		"10.5.9-MariaDB":             "MariaDB 10.5.9: upgrade",
		"weird":                      "none",
	} {
		s, err := parseVersion(text)
		switch {
		case want == "none":
			require.ErrorContains(t, err, "none of MariaDB's or MySQL's")
		case strings.HasSuffix(want, ": upgrade"):
			require.ErrorContains(t, err, "upgrade", text)
			require.Equal(t, want, s.String()+": upgrade")
		default:
			require.NoError(t, err, text)
			require.Equal(t, want, s.String())
		}
	}
}

// The words that differ.
func TestDialects(t *testing.T) {
	newMariaDB := server{mariaDB: true, major: 11, minor: 4}
	require.Equal(t, []string{"tx_isolation", "transaction_isolation", "transaction_isolation"}, []string{mariaDB.isolation(), newMariaDB.isolation(), mySQL.isolation()})
	require.Equal(t, []string{"idle_write_transaction_timeout", "wait_timeout"}, []string{mariaDB.idle(), mySQL.idle()})
	c := &connector{role: writes, session: session{mode: strictMode, lockWait: 10, idle: 30}}
	require.Equal(t, "SET SESSION sql_mode = '"+strictMode+"', time_zone = '+00:00', autocommit = 1, tx_isolation = 'READ-COMMITTED', innodb_lock_wait_timeout = 10, idle_write_transaction_timeout = 30", c.set(mariaDB))
	require.Equal(t, "SET SESSION sql_mode = '"+strictMode+"', time_zone = '+00:00', autocommit = 1, transaction_isolation = 'READ-COMMITTED', innodb_lock_wait_timeout = 10, wait_timeout = 30", c.set(mySQL))
	c.role = reads
	require.Equal(t, "SET SESSION sql_mode = '"+strictMode+"', time_zone = '+00:00', autocommit = 1, tx_isolation = 'REPEATABLE-READ', innodb_lock_wait_timeout = 10", c.set(mariaDB))
}

// A silent SQL transaction is ended when its lease is over, at the latest.
func TestIdleSeconds(t *testing.T) {
	for want, o := range map[int]applier.Options{
		30: {}, 10: {HA: applier.Lease}, 1: {HA: applier.Lease, LeaseDuration: 100 * time.Millisecond}, 3: {HA: applier.Lease, LeaseDuration: 2100 * time.Millisecond},
	} {
		require.Equal(t, want, idleSeconds(o))
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"mysql://u:p@h:1/db?tls=true", "mysql:", "mysql://h/db?%", "mysql://[::1/db", "mysql://h/db?sql_mode='"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, addr string) {
		a, err := parse(addr)
		if err != nil {
			return
		}
		u, err := url.Parse(addr)
		require.NoError(t, err)
		if password, has := u.User.Password(); has && len(password) > 8 && !strings.Contains(u.Path+u.Host+u.User.Username(), password) {
			require.NotContains(t, a.text, password)
		}
		require.False(t, a.config.MultiStatements)
		require.NotContains(t, a.session.mode, "'")
	})
}
