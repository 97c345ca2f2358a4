package dbtest

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// Servers are the servers that the tests of one process share. They are started when a
// test asks for them first. A package declares one beside its TestMain:
//
//	var servers dbtest.Servers
//
//	func TestMain(m *testing.M) { os.Exit(servers.Run(m)) }
type Servers struct{ postgres, mariadb shared }

type shared struct {
	once   sync.Once
	server *Server
	err    error
}

// PostgreSQL returns the shared server. A test that ends it has to start it again,
// and must not run in parallel.
func (s *Servers) PostgreSQL(t testing.TB) *Server {
	t.Helper()
	return s.postgres.get(t, newPostgreSQL)
}

// MariaDB returns the shared server. A test that ends it has to start it again,
// and must not run in parallel.
func (s *Servers) MariaDB(t testing.TB) *Server {
	t.Helper()
	return s.mariadb.get(t, newMariaDB)
}

func (s *shared) get(t testing.TB, start func() (*Server, error)) *Server {
	t.Helper()
	s.once.Do(func() { s.server, s.err = start() })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

func (s *shared) close() error {
	if s.server == nil {
		return nil
	}
	return s.server.close()
}

// Run runs the tests of a package, ends the servers, and demands that no
// goroutine is left. It returns the exit code of the process.
func (s *Servers) Run(m interface{ Run() int }) int {
	code := m.Run()
	err := errors.Join(s.postgres.close(), s.mariadb.close())
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "dbtest:", err)
		return max(code, 1)
	}
	return code
}

// own starts a server that ends with the test.
func own(t testing.TB, start func() (*Server, error)) *Server {
	t.Helper()
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
