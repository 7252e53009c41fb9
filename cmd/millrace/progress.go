package main

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// countingReader counts what passes.
type countingReader struct {
	from io.Reader
	atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.Add(int64(n))
	return n, err
}

// progressBar draws one line on a terminal's stderr, four times a second. Where
// stderr is no terminal it draws nothing.
type progressBar struct {
	to    io.Writer
	total int64 // 0 when unknown
	began time.Time
	drawn time.Time
	shown bool
}

func (a *app) newProgressBar(total int64) *progressBar {
	b := &progressBar{total: total, began: time.Now()}
	if isTerminal(a.stderr) {
		b.to = a.stderr
	}
	return b
}

const (
	barWidth   = 30
	barEach    = 250 * time.Millisecond
	clearLine  = "\r\x1b[K"
	barFilled  = "█"
	barMissing = "░"
)

// show draws how far done of the total is, at most every barEach.
func (b *progressBar) show(done, lines int64) {
	if b.to == nil {
		return
	}
	now := time.Now()
	if now.Sub(b.drawn) < barEach {
		return
	}
	b.drawn, b.shown = now, true
	fmt.Fprint(b.to, clearLine+b.text(done, lines, now.Sub(b.began)))
}

func (b *progressBar) text(done, lines int64, took time.Duration) string {
	perSecond := int64(float64(lines) / max(took.Seconds(), 0.001))
	if b.total == 0 {
		return fmt.Sprintf("%d lines, %d per second", lines, perSecond)
	}
	part := min(1, float64(done)/float64(b.total))
	filled := int(part * barWidth)
	left := "-"
	if part > 0 {
		left = time.Duration(float64(took) * (1 - part) / part).Round(time.Second).String()
	}
	return fmt.Sprintf("%s%s %3.0f%%  %d lines, %d per second, %s left",
		strings.Repeat(barFilled, filled), strings.Repeat(barMissing, barWidth-filled), 100*part, lines, perSecond, left)
}

// clear removes the line, so that other text can take its place.
func (b *progressBar) clear() {
	if b.shown {
		fmt.Fprint(b.to, clearLine)
		b.shown = false
	}
}
