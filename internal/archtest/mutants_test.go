package archtest

import (
	"go/ast"
	"go/token"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A row of docs/mutants.md: mutant, what it breaks, package, test.
var mutantRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| .* \\| `([^`]+)` \\| `(Test[A-Za-z0-9_]*)[^`]*` \\|$")

// Every planted bug stands in the table once, beside a test that exists. That the
// test catches it is for make mutants to show.
func TestMutantsAreInTheTable(t *testing.T) {
	const name, room, test = 1, 2, 3
	listed := map[string]bool{}
	tests := testFunctions(t)
	for _, row := range mutantRow.FindAllStringSubmatch(readPage(t, "docs/mutants.md"), -1) {
		require.False(t, listed[row[name]], "mutant %s is listed twice", row[name])
		listed[row[name]] = true
		if !tests[row[room]+"."+row[test]] {
			t.Errorf("mutant %s: package %s has no %s", row[name], row[room], row[test])
		}
	}
	planted := plantedMutants(t)
	for name, at := range planted {
		if !listed[name] {
			t.Errorf("%s: mutant %s is not in docs/mutants.md", at, name)
		}
	}
	for name := range listed {
		if planted[name] == "" {
			t.Errorf("docs/mutants.md lists %s, which nothing plants", name)
		}
	}
}

// plantedMutants finds mutant.On("name"), by name.
func plantedMutants(t *testing.T) map[string]string {
	t.Helper()
	planted := map[string]string{}
	eachFile(t, false, func(_ string, f *ast.File, fset *token.FileSet) {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || selector(sel) != "mutant.On" || len(call.Args) != 1 {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: the name of a mutant is a literal", fset.Position(call.Pos()))
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			require.NoError(t, err)
			planted[name] = fset.Position(call.Pos()).String()
			return true
		})
	})
	return planted
}

// testFunctions lists the module's tests as room.TestName.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	for _, p := range project(t).own {
		for _, file := range p.files(true) {
			if !strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, name := range testsIn(t, file) {
				tests[p.room()+"."+name] = true
			}
		}
	}
	return tests
}
