package millrace

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"text/tabwriter"

	"millrace/internal/client"
	"millrace/internal/engine"
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
	printing := func(r *running) error {
		r.stdout = stdout
		return nil
	}
	err := a.Run(ctx, append(append([]RunOption{ready, printing}, options...), Flags(args))...)
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
	case errors.Is(err, ErrIncompatible):
		return exitDiffers
	}
	return exitFailed
}

// flagError is a fault of the command line.
type flagError struct{ error }

func (e *flagError) Unwrap() error { return e.error }

// ErrIncompatible is what [App.Run] returns for --plan when the program does not
// fit what stands on the cluster: a start would be refused, or would count
// wrongly.
var ErrIncompatible = errors.New("the program does not fit what is on the cluster")

// review prints what a start would change.
func (r *running) review(ctx context.Context) error {
	review, err := engine.ReviewPlan(ctx, r.options)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(r.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "CHANGE\tWHAT\tDETAIL\n")
	for _, c := range review.Changes {
		fmt.Fprintf(table, "%s\t%s\t%s\n", c.Kind, c.What, c.Detail)
		if c.Fix != "" {
			fmt.Fprintf(table, "\t\tfix: %s\n", c.Fix)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if !review.Compatible() {
		return fmt.Errorf("job %s: %w", review.App, ErrIncompatible)
	}
	return nil
}

// buildVersion is the program's, as its build has noted it.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return strings.Trim(info.Main.Version, "()")
}
