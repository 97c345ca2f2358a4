package dbtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The account that tests use. It may do everything.
const (
	User     = "waltz"
	Password = "waltz"
)

// program and data of one kind of server.
type kind struct {
	name      string // of the kind, for errors
	scheme    string // of its URLs
	database  string // one that is always there
	query     string // of its URLs
	stop      syscall.Signal
	orphan    syscall.Signal
	command   func(h *home, port int) (*exec.Cmd, error)
	ping      func(ctx context.Context, url string) error
	databases func(ctx context.Context, url, statement string) error
	drop      string // format of the statement that ends a database
}

// Server is one database server. Its methods may be called concurrently, but
// those that start and end it one at a time.
type Server struct {
	kind kind
	home *home
	port int

	mu  sync.Mutex
	run *process
	n   int // databases made so far
}

// launch starts a server for the first time. Somebody else may be faster in taking
// the port that was free.
func launch(k kind, h *home) (*Server, error) {
	var errs []error
	for range 3 {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		s := &Server{kind: k, home: h, port: port}
		if err = s.Start(); err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(append(errs, h.close())...)
}

// Addr returns host and port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// URL returns the address of a database of this server.
func (s *Server) URL(database string) string {
	u := url.URL{Scheme: s.kind.scheme, User: url.UserPassword(User, Password), Host: s.Addr(), Path: "/" + database, RawQuery: s.kind.query}
	return u.String()
}

// NewDatabase makes an empty database for one test, which is dropped after it, and
// returns its URL.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.n++
	name := "t" + strconv.Itoa(s.n)
	s.mu.Unlock()
	if err := s.execute("CREATE DATABASE " + name); err != nil {
		t.Fatalf("%s: create database: %v", s.kind.name, err)
	}
	t.Cleanup(func() {
		if s.Running() {
			_ = s.execute(fmt.Sprintf(s.kind.drop, name)) // it goes with its server anyway
		}
	})
	return s.URL(name)
}

func (s *Server) execute(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.kind.databases(ctx, s.URL(s.kind.database), statement)
}

// process returns the run that is under way, or the last one.
func (s *Server) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.run
}

// Running reports whether the server's program runs, or is paused.
func (s *Server) Running() bool {
	p := s.process()
	return p != nil && p.alive()
}

// Start starts a server that is down, on the same port, and returns when it
// answers.
func (s *Server) Start() error {
	if s.Running() {
		return fmt.Errorf("start %s: it is running", s.kind.name)
	}
	c, err := s.kind.command(s.home, s.port)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(s.home.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log // files: a pipe would make go test wait for the server
	p, err := start(c, s.kind.orphan)
	if err != nil {
		return fmt.Errorf("start %s: %w", s.kind.name, err)
	}
	s.mu.Lock()
	s.run = p
	s.mu.Unlock()
	if err := os.WriteFile(s.home.path("pid"), []byte(strconv.Itoa(p.pid)), 0o600); err != nil {
		return errors.Join(err, p.killAll())
	}
	err = until(p.ended, "start "+s.kind.name, func(ctx context.Context) error {
		return s.kind.ping(ctx, s.URL(s.kind.database))
	})
	if err != nil {
		return errors.Join(fmt.Errorf("%w; end of its log:\n%s", err, s.Log()), p.killAll())
	}
	return nil
}

// Stop ends the server in good order. Connections are cut.
func (s *Server) Stop() error {
	p := s.process()
	if !p.alive() {
		return nil
	}
	if err := syscall.Kill(p.pid, s.kind.stop); err != nil {
		return fmt.Errorf("stop %s: %w", s.kind.name, err)
	}
	select {
	case <-p.ended:
		return os.Remove(s.home.path("pid"))
	case <-time.After(startTimeout):
		return errors.Join(fmt.Errorf("stop %s: it went on for %s; end of its log:\n%s", s.kind.name, startTimeout, s.Log()), p.killAll())
	}
}

// Kill ends the server and all its processes with SIGKILL.
func (s *Server) Kill() error {
	if err := s.process().killAll(); err != nil {
		return fmt.Errorf("kill %s: %w", s.kind.name, err)
	}
	return os.Remove(s.home.path("pid"))
}

// Pause stops all its processes where they are (SIGSTOP): connections stay open,
// and nobody answers. New ones wait in the kernel.
func (s *Server) Pause() error { return s.process().stopAll() }

// Resume lets a paused server go on.
func (s *Server) Resume() error { return s.process().signalAll(syscall.SIGCONT) }

// Log returns the end of what the server wrote.
func (s *Server) Log() string {
	const most = 4000
	b, err := os.ReadFile(s.home.path("log"))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b[max(0, len(b)-most):]))
}

// close ends the server for good.
func (s *Server) close() error {
	err := s.process().killAll() // nobody reads its data again
	if err == nil {
		err = os.RemoveAll(s.home.path("pid"))
	}
	return errors.Join(err, s.home.close())
}
