package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/waltz-log/waltz"
	root   = "../.."
)

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath, Name, Dir                        string
	Standard                                     bool
	Module                                       *struct{ Path string }
	GoFiles, CgoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports           []string
	Deps                                         []string
}

// room is the package's path inside the module.
func (p pkg) room() string { return room(p.ImportPath) }

// room maps github.com/waltz-log/waltz/x/y to x/y, and leaves others alone.
func room(importPath string) string {
	if importPath == module {
		return "."
	}
	return strings.TrimPrefix(importPath, module+"/")
}

// files returns the package's Go files, with its tests if wanted, as paths that
// can be opened from here.
func (p pkg) files(tests bool) []string {
	names := slices.Concat(p.GoFiles, p.CgoFiles)
	if tests {
		names = slices.Concat(names, p.TestGoFiles, p.XTestGoFiles)
	}
	for i, name := range names {
		names[i] = filepath.Join(p.Dir, name)
	}
	return names
}

// graph is the module's packages, and everything they depend on, by import path.
type graph struct {
	own []pkg
	all map[string]pkg
}

var loadGraph = sync.OnceValues(func() (graph, error) {
	if err := touch(); err != nil {
		return graph{}, err
	}
	cmd := exec.Command("go", "list", "-e", "-deps", "-json=ImportPath,Name,Dir,Standard,Module,GoFiles,CgoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = root
	out, err := cmd.StdoutPipe()
	if err != nil {
		return graph{}, err
	}
	if err := cmd.Start(); err != nil {
		return graph{}, err
	}
	g := graph{all: map[string]pkg{}}
	for dec := json.NewDecoder(out); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return g, cmd.Wait()
		} else if err != nil {
			return graph{}, err
		}
		g.all[p.ImportPath] = p
		if p.Module != nil && p.Module.Path == module {
			g.own = append(g.own, p)
		}
	}
})

// touch reads every folder, so that go test knows on what its cached result rests:
// it does not see what go list reads.
func touch() error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return fs.SkipDir
		}
		if err == nil && strings.HasSuffix(path, ".go") {
			_, err = os.Stat(path)
		}
		return err
	})
}

func project(t *testing.T) graph {
	t.Helper()
	g, err := loadGraph()
	require.NoError(t, err, "go list")
	require.NotEmpty(t, g.own)
	return g
}

// matches reports whether a room or import path is one of the patterns: a path
// itself, or with /... everything at and below it; * stands for one element.
func matches(p string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		base, below := strings.CutSuffix(pattern, "/...")
		if !below {
			ok, _ := path.Match(pattern, p)
			return ok
		}
		depth := strings.Count(base, "/") + 1
		head := strings.Join(strings.SplitN(p, "/", depth+1)[:min(depth, strings.Count(p, "/")+1)], "/")
		ok, _ := path.Match(base, head)
		return ok
	})
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		p, pattern string
		want       bool
	}{
		{"server", "server/...", true},
		{"server/internal/feed", "server/...", true},
		{"serverless", "server/...", false},
		{"server/internal/feed", "server", false},
		{"examples/ledger/internal/x", "*/ledger/...", true},
		{"examples", "*/ledger/...", false},
		{"net/http", "net/...", true},
		{"metadata/zk", "metadata/*", true},
	} {
		require.Equal(t, c.want, matches(c.p, []string{c.pattern}), "%s against %s", c.p, c.pattern)
	}
}
