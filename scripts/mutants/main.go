// Command mutants plants every bug of docs/mutants.md in turn and runs the test
// that is said to catch it. It fails if a test passes with its bug, or fails
// without any: a checker that has never caught anything proves nothing.
//
//	go run ./scripts/mutants [NAME...]
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const table = "docs/mutants.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// mutant is one row of the table.
type mutant struct {
	name, pkg, test string
}

func run(ctx context.Context, only []string, out io.Writer) error {
	text, err := os.ReadFile(table)
	if err != nil {
		return err
	}
	mutants, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", table, err)
	}
	bins, err := os.MkdirTemp("", "waltz-mutants-")
	if err != nil {
		return err
	}
	hunt := hunt{out: out, bins: bins, built: map[string]string{}, sound: map[string]error{}}
	return errors.Join(hunt.all(ctx, mutants, only), os.RemoveAll(bins))
}

// parse reads the rows of the table: mutant | what it breaks | package | test.
func parse(text string) ([]mutant, error) {
	var mutants []mutant
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			continue
		}
		m := mutant{name: code(cells[1]), pkg: code(cells[3]), test: code(cells[4])}
		if m.name == "" || m.pkg == "" || !strings.HasPrefix(m.test, "Test") {
			return nil, fmt.Errorf("row %q names no mutant, package or test", line)
		}
		mutants = append(mutants, m)
	}
	if len(mutants) == 0 {
		return nil, errors.New("no row found")
	}
	return mutants, nil
}

func code(cell string) string { return strings.Trim(strings.TrimSpace(cell), "`") }

// hunt remembers which test binaries were built, and which tests pass as long
// as no bug is planted.
type hunt struct {
	out   io.Writer
	bins  string
	built map[string]string // by package
	sound map[string]error  // by package and test
}

// all checks the mutants that are named, or every one.
func (h *hunt) all(ctx context.Context, mutants []mutant, only []string) error {
	var errs []error
	for _, m := range mutants {
		if len(only) == 0 || slices.Contains(only, m.name) {
			errs = append(errs, h.check(ctx, m))
		}
	}
	return errors.Join(errs...)
}

func (h *hunt) check(ctx context.Context, m mutant) error {
	if err := h.build(ctx, m.pkg); err != nil {
		return err
	}
	if err := h.healthy(ctx, m); err != nil {
		return fmt.Errorf("%s: %s in %s fails without the mutant: %w", m.name, m.test, m.pkg, err)
	}
	start := time.Now()
	output, err := h.test(ctx, m, m.name)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		fmt.Fprintf(h.out, "SURVIVED  %-36s %s %s\n", m.name, m.pkg, m.test)
		return fmt.Errorf("%s survived %s in %s", m.name, m.test, m.pkg)
	}
	if !died(output) {
		return fmt.Errorf("%s: %s in %s did not fail as a test does: %w\n%s", m.name, m.test, m.pkg, err, output)
	}
	fmt.Fprintf(h.out, "caught    %-36s %s %s (%s)\n", m.name, m.pkg, m.test, time.Since(start).Round(time.Millisecond))
	return nil
}

// died reports whether the output is that of a test that failed or panicked. One
// that ran out of time has noticed nothing.
func died(output []byte) bool {
	if bytes.Contains(output, []byte("panic: test timed out")) {
		return false
	}
	return bytes.Contains(output, []byte("--- FAIL")) || bytes.Contains(output, []byte("panic:"))
}

func (h *hunt) build(ctx context.Context, pkg string) error {
	if h.built[pkg] != "" {
		return nil
	}
	bin := filepath.Join(h.bins, strings.ReplaceAll(pkg, "/", "_")+".test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "mutant", "-o", bin, "./"+pkg)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build tests of %s: %w\n%s", pkg, err, output)
	}
	h.built[pkg] = bin
	return nil
}

func (h *hunt) healthy(ctx context.Context, m mutant) error {
	key := m.pkg + "." + m.test
	if err, known := h.sound[key]; known {
		return err
	}
	output, err := h.test(ctx, m, "")
	if err == nil && bytes.Contains(output, []byte("no tests to run")) {
		err = errors.New("there is no such test")
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, output)
	}
	h.sound[key] = err
	return err
}

// test runs the one test, with a bug planted if planted names one.
func (h *hunt) test(ctx context.Context, m mutant, planted string) ([]byte, error) {
	exactly := "^" + strings.ReplaceAll(regexp.QuoteMeta(m.test), "/", "$/^") + "$"
	cmd := exec.CommandContext(ctx, h.built[m.pkg], "-test.run", exactly, "-test.failfast", "-test.timeout", "10m")
	cmd.Dir = m.pkg
	cmd.Env = append(os.Environ(), "WALTZ_MUTANT="+planted, "RAPID_NOFAILFILE=true")
	return cmd.CombinedOutput()
}
