package postgres

import (
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/applier"
)

// closed is an address where nobody listens.
func closed(t *testing.T) string {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// Trouble of connecting is one line, which says where and why, once, and not with what
// password.
func TestConnectErrorsAreOneLine(t *testing.T) {
	nobody, nowhere := closed(t), servers.PostgreSQL(t).URL("nowhere")
	without := func(sslmode string) string {
		u, err := url.Parse(nowhere)
		require.NoError(t, err)
		q := u.Query()
		q.Set("sslmode", sslmode)
		u.RawQuery = q.Encode()
		return u.String()
	}
	for address, want := range map[string]string{
		"postgres://app:secret@" + nobody + "/app": "connect as user app to database app: dial tcp " + nobody + ": connect: connection refused",
		"postgres://app:secret@nobody.invalid/app": "connect as user app to database app: lookup nobody.invalid",
		without("disable"):                         `FATAL: database "nowhere" does not exist (SQLSTATE 3D000)`,
		without("prefer"):                          `FATAL: database "nowhere" does not exist (SQLSTATE 3D000)`,
		without("require"):                         "server refused TLS connection",
	} {
		_, err := openDatabase(t.Context(), address, "v")
		require.ErrorContains(t, err, want)
		db, failed := OpenDB(address)
		require.NoError(t, failed)
		pinged := db.PingContext(t.Context())
		require.NoError(t, db.Close())
		for _, err := range []error{err, pinged} {
			require.ErrorContains(t, err, want)
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), "secret")
			require.Equal(t, 1, strings.Count(err.Error(), want), "%v", err)
			require.Equal(t, strings.Contains(want, "TLS"), strings.Contains(err.Error(), "TLS"), "%v", err)
		}
	}
}

// A log line about a connection says of which database, and what is wrong with it.
func TestLostConnectionsAreNamed(t *testing.T) {
	nobody := closed(t)
	d := &database{address: redacted("postgres://app:secret@" + nobody + "/app")}
	c, err := parse("postgres://app:secret@" + nobody + "/app")
	require.NoError(t, err)
	_, err = probe(t.Context(), c.ConnConfig)
	f, is := d.Fault(connecting(err))
	require.True(t, is)
	require.Equal(t, applier.Fault{
		Class: applier.ClassBackOff, Code: "connection", Text: "postgres://" + nobody + "/app: dial tcp " + nobody + ": connect: connection refused",
	}, f)
	f, _ = d.Fault(&lostError{io.ErrUnexpectedEOF})
	require.Equal(t, "postgres://"+nobody+"/app: unexpected EOF", f.Text)
	f, _ = d.Fault(&lostError{errors.New("can't encode 4711")})
	require.Equal(t, "postgres://"+nobody+"/app", f.Text, "no values of rows")
}
