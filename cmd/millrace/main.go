// Millrace is a durable broker of the Kafka protocol with a click job, a query
// API and a page on top, and the command-line tools to work with it or with any
// other Kafka cluster. `millrace --help` says more.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker from git.
var version = "unknown"

func main() {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv, environ: os.Environ}
	ctx, stop := interruptible(os.Exit)
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// app is one invocation: what it reads, writes and knows of its surroundings.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
	environ        func() []string // as os.Environ; nil: nothing is misspelt
}

// run executes one command line and returns the exit code. Problems are written
// to stderr in the words of a fault.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		f := faultOf(err)
		a.report(f)
		return f.exit
	}
	return exitDone
}

// interruptible gives a context that the first SIGINT or SIGTERM ends, so that
// work stops cleanly. The second signal ends the process at once.
func interruptible(exit func(int)) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range signals {
			if ctx.Err() != nil {
				exit(exitInterrupted)
				return
			}
			cancel()
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		<-ended
		cancel()
	}
}
