package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/waltz-log/waltz/internal/sim"
)

// hunt builds this command with the mutants in it, and runs it once for each.
func hunt(ctx context.Context, o options, out io.Writer) error {
	bins, err := os.MkdirTemp("", "waltz-sim-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bins) //nolint:errcheck // a folder of our own
	bin := filepath.Join(bins, "sim")
	if output, err := exec.CommandContext(ctx, "go", "build", "-tags", "mutant", "-o", bin, "./scripts/sim").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, output)
	}
	fmt.Fprintln(out, "| mutant | what is wrong | seed | schedules | what breaks |\n| --- | --- | --- | --- | --- |")
	var errs []error
	for _, m := range sim.Mutants() {
		errs = append(errs, one(ctx, bin, m, o, out))
	}
	return errors.Join(errs...)
}

var seen = regexp.MustCompile(`seed (\d+), (\d+) schedules: ([^\n]*)`)

// one runs schedules until one shows a mutant.
func one(ctx context.Context, bin string, m sim.Mutant, o options, out io.Writer) error {
	cmd := exec.CommandContext(ctx, bin, "-terse", "-workers", "1", "-from", fmt.Sprint(o.from), "-seeds", fmt.Sprint(o.seeds))
	cmd.Env = append(os.Environ(), "WALTZ_MUTANT="+m.Name)
	var text bytes.Buffer
	cmd.Stderr = &text
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	found := seen.FindStringSubmatch(text.String())
	if err == nil || found == nil {
		fmt.Fprintf(out, "| `%s` | %s | SURVIVED | %d | %s |\n", m.Name, m.What, o.seeds, strings.TrimSpace(text.String()))
		return fmt.Errorf("%s survived %d schedules", m.Name, o.seeds)
	}
	fmt.Fprintf(out, "| `%s` | %s | %s | %s | %s |\n", m.Name, m.What, found[1], found[2], found[3])
	return nil
}
