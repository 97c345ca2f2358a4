package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// progress is a live line on stderr: it is drawn over on a terminal, and written
// seldom elsewhere.
type progress struct {
	what  string
	total int64
	done  atomic.Int64
	extra func() string // what else there is to tell; nil is nothing

	to    io.Writer
	live  bool
	began time.Time
	last  int // length of the line on the terminal
	quit  chan struct{}
	ended chan struct{}
}

const (
	drawEvery  = 100 * time.Millisecond // on a terminal
	writeEvery = 2 * time.Second        // elsewhere
	barWidth   = 24
)

// startProgress begins to tell of work until stop.
func startProgress(to io.Writer, what string, total int, extra func() string) *progress {
	p := &progress{what: what, total: int64(total), extra: extra, to: to, began: time.Now(), quit: make(chan struct{}), ended: make(chan struct{})}
	if f, is := to.(*os.File); is {
		p.live = term.IsTerminal(int(f.Fd()))
	}
	go p.run()
	return p
}

func (p *progress) run() {
	defer close(p.ended)
	every := writeEvery
	if p.live {
		every = drawEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.draw()
		case <-p.quit:
			return
		}
	}
}

// stop writes the last line.
func (p *progress) stop() {
	close(p.quit)
	<-p.ended
	p.draw()
	if p.live {
		fmt.Fprintln(p.to)
	}
}

func (p *progress) draw() {
	line := p.line()
	if !p.live {
		fmt.Fprintln(p.to, line)
		return
	}
	fmt.Fprintf(p.to, "\r%-*s", p.last, line)
	p.last = len(line)
}

func (p *progress) line() string {
	done, seconds := p.done.Load(), time.Since(p.began).Seconds()
	rate := float64(done) / max(seconds, 0.001)
	full := int(barWidth * done / max(p.total, 1))
	line := fmt.Sprintf("%s [%s%s] %s/%s  %s/s", p.what, strings.Repeat("#", full), strings.Repeat(".", barWidth-full),
		count(done), count(p.total), count(int64(rate)))
	if left := p.total - done; left > 0 && rate > 0 {
		line += "  " + time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second).String() + " left"
	}
	if p.extra != nil {
		line += "  " + p.extra()
	}
	return line
}
