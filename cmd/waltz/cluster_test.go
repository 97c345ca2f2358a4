package main

import (
	"encoding/json"
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// up starts a process of a cluster and waits until it says that it is ready:
// up NAME ARG...
func up(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: up NAME ARG...")
	}
	p := &devProcess{exited: make(chan struct{})}
	p.cmd = command(ts, append(args[1:], "--output", "json", "--log-level", "error")...)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	var ready map[string]any
	err = json.NewDecoder(out).Decode(&ready)
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	ts.Defer(func() {
		_ = p.cmd.Process.Kill() // unless die has ended it
		<-p.exited
	})
	if err != nil {
		ts.Fatalf("%s did not become ready: %v", args[0], err)
	}
	processes(ts)[args[0]] = p
}

// die kills a process that up has started: die NAME
func die(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || processes(ts)[args[0]] == nil {
		ts.Fatalf("usage: die NAME, of a process that is up")
	}
	p := processes(ts)[args[0]]
	ts.Check(p.cmd.Process.Kill())
	<-p.exited
}

// untilMax is how long until tries.
const untilMax = 60 * time.Second

// until runs waltz again and again, until it prints a text, with whatever exit code:
// until TEXT ARG...
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT ARG...")
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(untilMax); ; <-again.C {
		out, _ := command(ts, args[1:]...).Output()
		if strings.Contains(string(out), args[0]) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("it never printed %q; last: %s", args[0], out)
		}
	}
}
