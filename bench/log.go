package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// devLog is a waltz dev process on a folder of its own.
type devLog struct {
	binary, dir, addr string
	cmd               *exec.Cmd
	stderr            io.Writer
}

const stopMax = 30 * time.Second // for draining, before the process is killed

func startLog(ctx context.Context, o options, partitions int, stderr io.Writer) (*devLog, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(o.dir, "waltz-bench-")
	if err != nil {
		return nil, err
	}
	l := &devLog{binary: o.waltz, dir: dir, addr: addr, stderr: stderr}
	l.cmd = exec.CommandContext(ctx, o.waltz, "dev", "--dir", dir+"/log", "--listen", addr, "--partitions", fmt.Sprint(partitions), "--log-level", "warn")
	l.cmd.Cancel = func() error { return l.cmd.Process.Signal(syscall.SIGTERM) }
	l.cmd.WaitDelay = stopMax
	l.cmd.Stderr = stderr
	out, err := l.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := l.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s (make build makes it): %w", o.waltz, err), os.RemoveAll(dir))
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.Contains(line, addr) {
		return nil, errors.Join(fmt.Errorf("waltz dev did not become ready: %q", line), err, l.stop())
	}
	return l, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// waltz runs a command against the log and decodes what it prints.
func (l *devLog) waltz(ctx context.Context, figures any, args ...string) error {
	cmd := exec.CommandContext(ctx, l.binary, append(args, "--log", "waltz://"+l.addr, "--output", "json")...)
	cmd.Stderr = l.stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("waltz %s: %w", strings.Join(args, " "), err)
	}
	return json.Unmarshal(out, figures)
}

// stop drains the process and removes its folder.
func (l *devLog) stop() error {
	if err := l.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(stopMax, func() { _ = l.cmd.Process.Kill() }) // it may have just ended
	defer kill.Stop()
	return errors.Join(l.cmd.Wait(), os.RemoveAll(l.dir))
}
