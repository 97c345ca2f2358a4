package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := Listen("test")
	accepted := make(chan net.Conn)
	go func() {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		accepted <- c
	}()
	client, err := l.Dial(context.Background())
	require.NoError(t, err)
	server = <-accepted
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
		require.NoError(t, l.Close())
	})
	return client, server
}

// TestBytesArriveInOrder pushes far more than the buffer holds through it, in
// pieces of all sizes on both sides.
func TestBytesArriveInOrder(t *testing.T) {
	client, server := pair(t)
	want := make([]byte, 5*bufferBytes+13)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range want {
		want[i] = byte(r.Uint32())
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for b := want; len(b) > 0; {
			n := min(len(b), 1+rand.IntN(bufferBytes*2))
			k, err := client.Write(b[:n])
			if err != nil || k != n {
				panic(err)
			}
			b = b[n:]
		}
		_ = client.Close()
	})
	var got bytes.Buffer
	_, err := io.CopyBuffer(&got, struct{ io.Reader }{server}, make([]byte, 1777))
	require.NoError(t, err)
	writer.Wait()
	require.True(t, bytes.Equal(want, got.Bytes()))
}

func TestWriteWaitsForRoom(t *testing.T) {
	client, server := pair(t)
	n, err := client.Write(make([]byte, bufferBytes))
	require.NoError(t, err)
	require.Equal(t, bufferBytes, n)
	require.NoError(t, client.SetWriteDeadline(time.Now().Add(time.Millisecond)))
	n, err = client.Write([]byte{1})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Zero(t, n)
	require.NoError(t, client.SetWriteDeadline(time.Time{}))
	done := make(chan error, 1)
	go func() {
		_, err := client.Write([]byte{1})
		done <- err
	}()
	_, err = server.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, <-done)
}

func TestDeadlines(t *testing.T) {
	client, _ := pair(t)
	read := func() error { _, err := client.Read(make([]byte, 1)); return err }
	var timeout net.Error

	require.NoError(t, client.SetDeadline(time.Now().Add(-time.Second)))
	err := read()
	require.True(t, errors.As(err, &timeout) && timeout.Timeout())

	require.NoError(t, client.SetReadDeadline(time.Now().Add(time.Hour)))
	done := make(chan error, 1)
	go func() { done <- read() }()
	require.NoError(t, client.SetReadDeadline(time.Now().Add(time.Millisecond)), "a deadline can be moved under a read")
	require.ErrorIs(t, <-done, os.ErrDeadlineExceeded)
}

func TestClose(t *testing.T) {
	client, server := pair(t)
	_, err := client.Write([]byte("last"))
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.NoError(t, client.Close(), "closing twice is harmless")
	got, err := io.ReadAll(server)
	require.NoError(t, err)
	require.Equal(t, "last", string(got), "what was written before is read")
	_, err = server.Write([]byte{1})
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = client.Write([]byte{1})
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestCloseWakesReader(t *testing.T) {
	client, server := pair(t)
	done := make(chan error, 2)
	for _, c := range []net.Conn{client, server} {
		go func() {
			_, err := c.Read(make([]byte, 1))
			done <- err
		}()
	}
	require.NoError(t, server.Close())
	require.Error(t, <-done)
	require.Error(t, <-done)
}

func TestListenerClosed(t *testing.T) {
	l := Listen("test")
	require.Equal(t, "memory", l.Addr().Network())
	accept := make(chan error)
	go func() { _, err := l.Accept(); accept <- err }()
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-accept, net.ErrClosed)
	_, err := l.Dial(context.Background())
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestDialGivesUpWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := Listen("test").Dial(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
