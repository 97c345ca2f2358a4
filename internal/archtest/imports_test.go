package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// arrow forbids the rooms matching from to import the paths matching to, itself
// or, if deep, through anything it imports.
type arrow struct {
	from, to []string
	except   []string
	deep     bool
	why      string
}

// outside of a protocol core: what would make its behaviour depend on anything
// but the events it is given.
var outside = []string{
	"context", "crypto/rand", "database/...", "google.golang.org/grpc/...", "io/fs", "log/...", "math/rand/...",
	"net/...", "os/...", "runtime/...", "sync/...", "syscall", "testing/...", "time",
}

// systemRooms are the ones behind the wire.
var systemRooms = []string{"server/...", "storage/...", "metadata/...", "embedded/..."}

var arrows = []arrow{
	// Protocol cores.
	{
		from: []string{"internal/quorum", "internal/session", "internal/placement", "internal/locktable", "internal/probe", "internal/requests", "server/internal/assign", "waltz/internal/monitor"},
		to:   slices.Concat(outside, []string{"waltz/...", "proto/...", "internal/wire", "internal/vfs", "internal/memnet"}),
		why:  "a protocol core is pure: events in, outputs out, so that transcripts and simulation can drive it",
	},
	{
		from:   []string{"internal/txn", "internal/record"},
		to:     outside,
		except: []string{"time"},
		why:    "the vocabulary and the record format do no I/O and hold no state",
	},
	{
		from: []string{"internal/txn"},
		to:   []string{module + "/..."},
		why:  "the vocabulary is a leaf",
	},

	// Rooms.
	{
		from: []string{"waltz/..."}, except: []string{"waltz/waltztest"},
		to:   slices.Concat(systemRooms, []string{"txcontext/...", "applier/...", "sinks/...", "migrations/...", "cmd/..."}),
		deep: true,
		why:  "the client knows the contract only; other address schemes are handed to Dial",
	},
	{
		from: []string{"txcontext/...", "applier/...", "sinks/..."},
		to:   systemRooms,
		deep: true,
		why:  "applications' rooms know nothing of how the log is kept",
	},
	{
		from: []string{"txcontext/..."},
		to:   []string{"applier/...", "migrations/...", "sinks/..."},
		deep: true,
		why:  "a transaction context sees its view through txcontext.View only",
	},
	{
		from: []string{"applier"},
		to:   []string{"applier/*", "github.com/jackc/pgx/...", "github.com/go-sql-driver/mysql/...", "modernc.org/sqlite/..."},
		deep: true,
		why:  "an application imports only its own database's driver",
	},
	{
		from: []string{"migrations"},
		to:   []string{"github.com/jackc/pgx/...", "github.com/go-sql-driver/mysql/...", "modernc.org/sqlite/..."},
		deep: true,
		why:  "migrations take a *sql.DB; the driver is the application's",
	},
	{
		from: []string{"server/..."},
		to:   []string{"storage/...", "waltz/...", "embedded/...", "cmd/..."},
		why:  "server and storage meet in proto/storagepb and internal/session only; clients are on the other side of the wire",
	},
	{
		from: []string{"storage/..."},
		to:   []string{"server/...", "waltz/...", "metadata/...", "embedded/...", "cmd/..."},
		why:  "a storage keeps what it is sent, and asks nobody",
	},
	{
		from: []string{"metadata/..."},
		to:   []string{"server/...", "storage/...", "waltz/...", "embedded/...", "cmd/...", "proto/..."},
		why:  "metadata lies below everything that runs",
	},
	{
		from: []string{"internal/..."}, except: []string{"internal/sim/...", "internal/e2e/..."},
		to:  []string{"server/...", "storage/...", "waltz/...", "embedded/...", "txcontext/...", "applier/...", "migrations/...", "cmd/..."},
		why: "internal/ lies below the public rooms",
	},
	{
		from: []string{"examples/..."},
		to:   []string{"internal/...", "*/internal/...", "*/*/internal/...", "proto/...", "server/...", "storage/...", "metadata/..."},
		why:  "an example is written as an application would be, on the public API",
	},

	// Libraries with one door.
	{
		from: []string{"*/..."}, except: []string{"metadata/zk"},
		to:  []string{"github.com/go-zookeeper/..."},
		why: "only metadata/zk talks to ZooKeeper",
	},
	{
		from: []string{"*/..."}, except: []string{"migrations/...", "examples/..."},
		to:  []string{"github.com/pressly/goose/..."},
		why: "only migrations, and an application's own, know the migration library",
	},
	{
		from: []string{"*/..."}, except: []string{"cmd/...", "examples/...", "bench/..."},
		to:  []string{"github.com/spf13/..."},
		why: "libraries have no command line",
	},
}

func TestArrows(t *testing.T) {
	g := project(t)
	for _, p := range g.own {
		for _, a := range arrows {
			if !matches(p.room(), a.from) || matches(p.room(), a.except) {
				continue
			}
			imports := p.Imports
			if a.deep {
				imports = p.Deps
			}
			for _, imp := range imports {
				inFrom := matches(room(imp), a.from)
				excepted := matches(room(imp), a.except)
				if a.forbids(imp) && !inFrom && !excepted {
					t.Errorf("%s imports %s: %s", p.room(), room(imp), a.why)
				}
			}
		}
	}
}

// forbids reports whether the arrow's target names the import, as a room of
// ours or as a path.
func (a arrow) forbids(imp string) bool {
	return matches(imp, a.to) || imp != room(imp) && matches(room(imp), a.to)
}

// A rule that names a package which does not exist guards nothing: it must be
// one that is still to come.
func TestArrowsNameRealPackages(t *testing.T) {
	toCome := []string{"server/internal/assign", "metadata/zk", "sinks/..."}
	g := project(t)
	for _, a := range arrows {
		for _, from := range slices.Concat(a.from, a.except) {
			found := slices.ContainsFunc(g.own, func(p pkg) bool { return matches(p.room(), []string{from}) })
			_, external := g.all[from]
			if !found && !external && !slices.Contains(toCome, from) {
				t.Errorf("rule %q names %s, which does not exist", a.why, from)
			}
		}
	}
}

// lightModules is what an application pulls in with the client: gRPC and little
// else. Adding a line here is a decision.
var lightModules = []string{
	module,
	"github.com/cenkalti/backoff/v5",
	"github.com/klauspost/cpuid/v2", // xxh3's
	"github.com/zeebo/xxh3",
	"golang.org/x/net",
	"golang.org/x/sync",
	"golang.org/x/sys",
	"golang.org/x/text",
	"google.golang.org/genproto/googleapis/rpc",
	"google.golang.org/grpc",
	"google.golang.org/protobuf",
}

func TestClientSideIsLight(t *testing.T) {
	g := project(t)
	for _, client := range []string{"waltz", "txcontext"} {
		p, ok := g.all[module+"/"+client]
		require.True(t, ok, client)
		for _, dep := range p.Deps {
			d := g.all[dep]
			if d.Module != nil && !slices.Contains(lightModules, d.Module.Path) {
				t.Errorf("%s depends on %s of module %s: an application that imports it must stay light", client, dep, d.Module.Path)
			}
		}
	}
}

// wireFiles may name generated types: the translation, and the files that serve
// or call a gRPC method.
var wireFiles = []string{
	"internal/wire/*.go",
	"server/*.go", // the room's own package is its gRPC service; what it serves is below server/internal
	"storage/grpc*.go",
	"internal/storageclient/*.go",
	"waltz/dial.go", "waltz/link.go", "waltz/router.go", // one call each: Describe, the streams, routing
	"internal/adminrpc/*.go", // both ends of proto/adminpb
	"waltz/internal/codec/*.go",
	"waltz/waltztest/proxy.go", // stands between client and server, to break what passes
	"proto/*/*.go",
}

func TestGeneratedTypesStayAtTheWire(t *testing.T) {
	top, err := filepath.Abs(root)
	require.NoError(t, err)
	for _, p := range project(t).own {
		for _, file := range p.files(false) {
			rel, err := filepath.Rel(top, file)
			require.NoError(t, err)
			if matches(rel, wireFiles) {
				continue
			}
			for _, imp := range fileImports(t, file) {
				if strings.HasPrefix(imp, module+"/proto/") {
					t.Errorf("%s imports %s: generated types stay in internal/wire and the gRPC files", rel, room(imp))
				}
			}
		}
	}
}

func fileImports(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	require.NoError(t, err)
	var imports []string
	for _, spec := range f.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		imports = append(imports, imp)
	}
	return imports
}

// testsIn lists the test functions of a file.
func testsIn(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var names []string
	for _, decl := range f.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
			names = append(names, fn.Name.Name)
		}
	}
	return names
}
