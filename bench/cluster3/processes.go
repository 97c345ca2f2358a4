package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is one waltz process that serves.
type process struct {
	name   string
	args   []string
	addr   string // host:port
	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended
}

// cluster is a server and its storages.
type cluster struct {
	binary, dir string
	stderr      io.Writer
	server      *process
	storages    []*process
}

const (
	startMax = 30 * time.Second
	stopMax  = 30 * time.Second // for draining, before a process is killed
)

// startCluster starts everything in a new folder.
func startCluster(ctx context.Context, o options, stderr io.Writer) (*cluster, error) {
	dir, err := os.MkdirTemp(o.dir, "waltz-cluster3-")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	c := &cluster{binary: o.waltz, dir: dir, stderr: stderr}
	if err := c.start(ctx, o); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, o options) error {
	var named []string
	for i := range o.storages {
		name := fmt.Sprintf("s%d", i+1)
		p, err := c.newProcess(name, "storage", "run", "--name", name, "--dir", filepath.Join(c.dir, name))
		if err != nil {
			return err
		}
		c.storages = append(c.storages, p)
		named = append(named, name+"="+p.addr)
		if err := c.run(ctx, p); err != nil {
			return err
		}
	}
	server, err := c.newProcess("server", "server", "run", "--metadata", "file://"+filepath.Join(c.dir, "metadata"),
		"--create", "--partitions", fmt.Sprint(o.partitions), "--storages", strings.Join(named, ","))
	if err != nil {
		return err
	}
	c.server = server
	return c.run(ctx, server)
}

// newProcess gives a process an address that it keeps.
func (c *cluster) newProcess(name string, args ...string) (*process, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	return &process{name: name, addr: addr, args: append(args, "--listen", addr, "--log-level", "error", "--output", "json")}, l.Close()
}

// run starts a process and waits until it says that it is ready.
func (c *cluster) run(ctx context.Context, p *process) error {
	cmd := exec.Command(c.binary, p.args...)
	cmd.Stderr = c.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s (make build makes it): %w", c.binary, err)
	}
	p.cmd, p.exited = cmd, make(chan struct{})
	ready := make(chan error, 1)
	go func() {
		var line map[string]any
		ready <- json.NewDecoder(out).Decode(&line)
		_ = cmd.Wait() // it is told to end, or its last words are on stderr
		close(p.exited)
	}()
	ctx, cancel := context.WithTimeout(ctx, startMax)
	defer cancel()
	select {
	case err := <-ready:
		if err != nil {
			return fmt.Errorf("%s did not become ready: %w", p.name, err)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s did not become ready: %w", p.name, ctx.Err())
	}
}

// end ends a process and waits for it.
func (p *process) end(sig syscall.Signal) error {
	if p == nil || p.cmd == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(stopMax, func() { _ = p.cmd.Process.Kill() }) // it may have just ended
	defer kill.Stop()
	<-p.exited
	return nil
}

// stop ends everything and removes the folder.
func (c *cluster) stop() error {
	err := c.server.end(syscall.SIGTERM)
	for _, p := range c.storages {
		err = errors.Join(err, p.end(syscall.SIGTERM))
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

// bench runs waltz bench append and decodes what it prints.
func (c *cluster) bench(ctx context.Context, o options, f *figures, inflight, locks int) error {
	var named []string
	for _, p := range c.storages {
		named = append(named, p.name+"="+p.addr)
	}
	cmd := exec.CommandContext(ctx, c.binary, "bench", "append", "--log", "waltz://"+c.server.addr, "--output", "json", "--size", fmt.Sprint(o.size),
		"--inflight", fmt.Sprint(inflight), "--locks", fmt.Sprint(locks), "--duration", o.duration.String(), "--disk", c.dir, "--cpu-of", strings.Join(named, ","))
	cmd.Stderr = c.stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("waltz bench append: %w", err)
	}
	return json.Unmarshal(out, f)
}
