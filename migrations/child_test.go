package migrations_test

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waltz-log/waltz/migrations"
)

// What an instance is told.
const (
	childURL  = "WALTZ_TEST_MIGRATE_URL"
	childKill = "WALTZ_TEST_MIGRATE_KILL" // before which word to the database it dies; 0: never
)

// childLease is that of an instance that is killed: the next one waits for it.
const childLease = 200 * time.Millisecond

// child is an instance: it connects, says so, waits for a line and migrates. It
// prints how many migrations it has applied.
func child() int {
	err := func() error {
		c, d, err := connector(os.Getenv(childURL))
		if err != nil {
			return err
		}
		k := &killer{Connector: c}
		db := sql.OpenDB(k)
		defer db.Close()
		if err := db.Ping(); err != nil {
			return err
		}
		m, err := migrations.New(db, d, migrations.Options{})
		if err != nil {
			return err
		}
		fmt.Println("ready")
		if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
			return err
		}
		if k.at, err = strconv.ParseInt(os.Getenv(childKill), 10, 64); err != nil {
			return err
		}
		if k.at > 0 {
			m.SetLease(childLease)
		}
		done, err := m.Up(context.Background())
		fmt.Println(len(done))
		return err
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// instance is a process of its own that migrates.
type instance struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err strings.Builder
}

// startInstance starts one and waits until it is connected.
func startInstance(t *testing.T, address string, killAt int) *instance {
	t.Helper()
	i := &instance{cmd: exec.Command(os.Args[0])}
	i.cmd.Env = append(os.Environ(), childURL+"="+address, childKill+"="+strconv.Itoa(killAt))
	i.cmd.Stderr = &i.err
	var err error
	i.in, err = i.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := i.cmd.StdoutPipe()
	require.NoError(t, err)
	i.out = bufio.NewReader(out)
	require.NoError(t, i.cmd.Start())
	line, _ := i.out.ReadString('\n') // on an error there is no line
	require.Equal(t, "ready\n", line, i.err.String())
	return i
}

func (i *instance) start(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(i.in, "\n")
	require.NoError(t, err)
}

// end waits for the end of an instance, and returns how many migrations it has
// applied, or that it was killed.
func (i *instance) end(t *testing.T) (applied int, killed bool) {
	t.Helper()
	out, err := io.ReadAll(i.out)
	require.NoError(t, err)
	err = i.cmd.Wait()
	if status, is := i.cmd.ProcessState.Sys().(syscall.WaitStatus); is && status.Signal() == syscall.SIGKILL {
		return 0, true
	}
	require.NoError(t, err, i.err.String())
	applied, err = strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	return applied, false
}

// killer ends its process with SIGKILL before it says a certain word to the
// database.
type killer struct {
	driver.Connector
	at   int64
	said atomic.Int64
}

func (k *killer) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &killerConn{c.(wholeConn), k}, nil
}

// say counts a word. One that extends the lease is none: it comes with the clock,
// beside the migration, and would make the other words' numbers another at each run.
func (k *killer) say(word string) {
	if k.at == 0 || strings.Contains(word, " SET until = ") {
		return
	}
	if k.said.Add(1) == k.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// wholeConn is what all three drivers can do.
type wholeConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnPrepareContext
}

type killerConn struct {
	wholeConn
	k *killer
}

func (c *killerConn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, is := c.wholeConn.(driver.NamedValueChecker); is {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *killerConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.k.say(query)
	return c.wholeConn.ExecContext(ctx, query, args)
}

func (c *killerConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.k.say(query)
	return c.wholeConn.QueryContext(ctx, query, args)
}

func (c *killerConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	c.k.say("BEGIN")
	tx, err := c.wholeConn.BeginTx(ctx, o)
	return &killerTx{tx, c.k}, err
}

type killerTx struct {
	driver.Tx
	k *killer
}

func (tx *killerTx) Commit() error {
	tx.k.say("COMMIT")
	return tx.Tx.Commit()
}
