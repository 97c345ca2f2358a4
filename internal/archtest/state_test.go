package archtest

import (
	"go/ast"
	"go/token"
	"go/types"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/tools/go/packages"
)

// A package-level variable may be a table, an error, a compiled expression or an
// embedded file, written once by its declaration. One that changes is state that
// two users of the package share without knowing (goose needed its Provider to
// escape its globals).
func TestNoPackageKeepsState(t *testing.T) {
	pkgs, err := packages.Load(&packages.Config{
		Dir:  root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo,
	}, "./...")
	require.NoError(t, err)
	for _, p := range pkgs {
		for _, f := range p.Syntax {
			if ast.IsGenerated(f) {
				continue
			}
			checkDeclared(t, p, f)
			checkWrites(t, p, f)
		}
	}
}

// checkDeclared refuses variables whose type invites change.
func checkDeclared(t *testing.T, p *packages.Package, f *ast.File) {
	t.Helper()
	for _, decl := range f.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				obj := p.TypesInfo.Defs[name]
				if obj != nil && name.Name != "_" && mutable(obj.Type()) {
					t.Errorf("%s: variable %s of type %s is package-level state: put it into a struct", p.Fset.Position(name.Pos()), name.Name, obj.Type())
				}
			}
		}
	}
}

// mutable reports whether values of a type exist to be changed.
func mutable(typ types.Type) bool {
	switch typ := types.Unalias(typ).(type) {
	case *types.Chan:
		return true
	case *types.Named:
		if pkg := typ.Obj().Pkg(); pkg != nil && (pkg.Path() == "sync" || pkg.Path() == "sync/atomic") {
			return typ.Obj().Name() != "Pool" // spare memory, which nobody can tell from new
		}
		return mutable(typ.Underlying())
	case *types.Struct:
		for field := range typ.Fields() {
			if mutable(field.Type()) {
				return true
			}
		}
	}
	return false
}

// checkWrites refuses assignments to package-level variables, their elements and
// fields, and taking their address. Generated descriptors are passed by address.
func checkWrites(t *testing.T, p *packages.Package, f *ast.File) {
	t.Helper()
	report := func(e ast.Expr, what string) {
		if v := packageVar(p, e); v != nil && !strings.HasPrefix(v.Pkg().Path(), module+"/proto/") {
			t.Errorf("%s: %s package-level variable %s", p.Fset.Position(e.Pos()), what, v.Name())
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			for _, lhs := range n.Lhs {
				report(lhs, "assigns to")
			}
		case *ast.IncDecStmt:
			report(n.X, "changes")
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				report(n.X, "takes the address of")
			}
		case *ast.CallExpr:
			if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(n.Args) > 0 {
				report(n.Args[0], id.Name+"s from")
			}
		}
		return true
	})
}

// packageVar finds the package-level variable that an expression is, or is a
// part of; nil if it is none.
func packageVar(p *packages.Package, e ast.Expr) *types.Var {
	for {
		switch x := e.(type) {
		case *ast.ParenExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			if _, qualified := p.TypesInfo.Uses[x.Sel].(*types.Var); qualified && p.TypesInfo.Selections[x] == nil {
				e = x.Sel
				continue
			}
			e = x.X
		case *ast.Ident:
			v, ok := p.TypesInfo.Uses[x].(*types.Var)
			if ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
				return v
			}
			return nil
		default:
			return nil
		}
	}
}
