package millrace

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"millrace/internal/client"
)

// Main is a whole main function: it runs the job with the flags of [Flags] in
// os.Args, prints one line that begins with "ready" when it has started, stops
// with a last commit at SIGINT or SIGTERM, at once at the second one, and ends
// the process with the exit codes of the millrace command: 0 done, 1 failed, 2
// wrong usage, 4 refused, 5 the cluster could not be reached, 6 --plan has found
// that the program does not fit what is on the cluster. Options come before the
// flags: they are defaults.
//
//	func main() { clickCount().Main() }
func (a *App) Main(options ...RunOption) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal has its usual effect
	code := a.main(ctx, os.Args[1:], os.Stdout, os.Stderr, options)
	stop()
	os.Exit(code)
}

func (a *App) main(ctx context.Context, args []string, stdout, stderr io.Writer, options []RunOption) int {
	ready := OnReady(func(r Ready) {
		fmt.Fprintf(stdout, "ready kafka=%s data=%s\n", strings.Join(r.Brokers, ","), r.Dir)
	})
	err := a.Run(ctx, append(append([]RunOption{ready}, options...), Flags(args))...)
	code := exitCode(err)
	if code != exitDone {
		fmt.Fprintf(stderr, "error: %v\n", err)
	}
	if code == exitUsage {
		fmt.Fprintln(stderr, "  fix: --help lists the flags")
	}
	return code
}

// Exit codes of [App.Main], as of the millrace command.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 4
	exitUnreachable = 5
	exitDiffers     = 6
)

func exitCode(err error) int {
	_, usage := errors.AsType[*flagError](err)
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return exitDone
	case usage:
		return exitUsage
	case errors.Is(err, client.ErrNotAuthorized):
		return exitRefused
	case errors.Is(err, client.ErrUnreachable):
		return exitUnreachable
	}
	return exitFailed
}

// flagError is a fault of the command line.
type flagError struct{ error }

func (e *flagError) Unwrap() error { return e.error }
