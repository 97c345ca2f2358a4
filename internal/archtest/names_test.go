package archtest

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPackageNamesSayWhatTheyAreAbout(t *testing.T) {
	empty := []string{"util", "utils", "common", "types", "helper", "helpers", "misc", "base", "shared"}
	for _, p := range project(t).own {
		if slices.Contains(empty, path.Base(p.ImportPath)) {
			t.Errorf("package %s: %q says nothing; name the idea", p.room(), path.Base(p.ImportPath))
		}
	}
}

var interfaceName = regexp.MustCompile(`^I[A-Z][a-z]`)

func TestInterfacesHaveNoPrefix(t *testing.T) {
	eachFile(t, false, func(file string, f *ast.File, fset *token.FileSet) {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if _, iface := spec.Type.(*ast.InterfaceType); iface && interfaceName.MatchString(spec.Name.Name) {
				t.Errorf("%s: interface %s: no I prefix", fset.Position(spec.Pos()), spec.Name.Name)
			}
			return true
		})
	})
}

var skips = regexp.MustCompile(`^(t|b|tb|f)\.Skip(f|Now)?$`)

// Tests prove or fail; they don't skip, and wait for a condition rather than
// for a time. Where a package's tests run in testing/synctest bubbles, sleeping
// is virtual; a rapid property skips a draw, not a test.
func TestTestsNeitherSkipNorSleep(t *testing.T) {
	bubbles := map[string]bool{}
	eachFile(t, true, func(file string, f *ast.File, _ *token.FileSet) {
		if slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` }) {
			bubbles[filepath.Dir(file)] = true
		}
	})
	eachFile(t, true, func(file string, f *ast.File, fset *token.FileSet) {
		if !strings.HasSuffix(file, "_test.go") {
			return
		}
		var inspect func(n ast.Node, rapid bool)
		inspect = func(n ast.Node, rapid bool) {
			ast.Inspect(n, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncLit:
					inspect(n.Body, rapid || takesRapid(n.Type))
					return false
				case *ast.FuncDecl:
					if n.Body != nil {
						inspect(n.Body, takesRapid(n.Type))
					}
					return false
				case *ast.SelectorExpr:
					switch name := selector(n); {
					case name == "time.Sleep" && !bubbles[filepath.Dir(file)]:
						t.Errorf("%s: time.Sleep in a test: wait for a condition instead", fset.Position(n.Pos()))
					case skips.MatchString(name) && !rapid:
						t.Errorf("%s: %s: fail instead of skipping", fset.Position(n.Pos()), name)
					}
				}
				return true
			})
		}
		inspect(f, false)
	})
}

func selector(e *ast.SelectorExpr) string {
	if x, ok := e.X.(*ast.Ident); ok {
		return x.Name + "." + e.Sel.Name
	}
	return e.Sel.Name
}

// takesRapid reports whether a function has a *rapid.T parameter.
func takesRapid(f *ast.FuncType) bool {
	return slices.ContainsFunc(f.Params.List, func(p *ast.Field) bool {
		star, ok := p.Type.(*ast.StarExpr)
		if !ok {
			return false
		}
		sel, ok := star.X.(*ast.SelectorExpr)
		return ok && selector(sel) == "rapid.T"
	})
}

// What the project publishes names no machine it was written on.
func TestNoFileNamesAMachine(t *testing.T) {
	// Spelt in halves, so that this file passes.
	places := regexp.MustCompile(`(^|[\s"'=(])(/wo` + `rk/|/ro` + `ot/|/ho` + `me/[a-z])|GOPR` + `OXY=|proxy\.gol` + `ang\.org|deb\.deb` + `ian\.org|registry\.npm`)
	for _, file := range tracked(t) {
		text, err := os.ReadFile(filepath.Join(root, file))
		if os.IsNotExist(err) || bytes.IndexByte(text, 0) >= 0 {
			continue // removed in the work tree, or no text
		}
		require.NoError(t, err)
		for i, line := range bytes.Split(text, []byte("\n")) {
			if m := places.Find(line); m != nil {
				t.Errorf("%s:%d names %q", file, i+1, m)
			}
		}
	}
}

// tracked lists the files that git knows.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err, "git ls-files")
	return strings.Fields(string(out))
}

// eachFile parses every Go file of the module that a person wrote.
func eachFile(t *testing.T, tests bool, visit func(file string, f *ast.File, fset *token.FileSet)) {
	t.Helper()
	for _, p := range project(t).own {
		for _, file := range p.files(tests) {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
			require.NoError(t, err)
			if !ast.IsGenerated(f) {
				visit(file, f, fset)
			}
		}
	}
}
