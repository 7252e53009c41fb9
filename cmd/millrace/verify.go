package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/verify"
)

const verifyHelp = `Recount the input and compare: read click_events from its start, count clicks per
user and per page in a way of its own, and hold each count that the click job has
stored against it, each dead letter too. It prints MATCH and exits with 0, or
prints each difference and exits with 6.

It works while clicks arrive: it waits until the job has committed what was there
at the start, and compares those who were clicked meanwhile with bounds.`

const verifyExample = `  millrace verify
  millrace verify --brokers kafka-1:9092 --show 1000 -o json`

// clickJob is the one job that has an independent recount.
const clickJob = "click-count"

type verifyFlags struct {
	job      string
	show     int
	patience time.Duration
	cluster  cluster
	output   output
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:     "verify",
		Short:   "Recount the input and compare with the results",
		Long:    verifyHelp,
		Example: verifyExample,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.job, "job", clickJob, "the job to verify")
	flags.IntVar(&f.show, "show", 20, "list at most so many differences; all are counted")
	flags.DurationVar(&f.patience, "wait", time.Minute, "how long the job may take to come to the input's end")
	complete(cmd, "job", clickJob)
	f.cluster.register(cmd)
	f.output.register(cmd)
	return cmd
}

func (a *app) verify(ctx context.Context, f verifyFlags) error {
	if f.job != clickJob {
		return usage("use --job "+clickJob, "there is no recount of job %q", f.job)
	}
	if f.show < 1 || f.patience <= 0 {
		return usage("use --show 1 or more and --wait 1s or more", "--show is %d, --wait %v", f.show, f.patience)
	}
	config, err := f.cluster.config()
	if err != nil {
		return err
	}
	bar := a.newProgressBar(0)
	report, err := verify.ClickCount(ctx, verify.Options{Client: config, Show: f.show, Patience: f.patience,
		Progress: func(done, of int64) { bar.total = of; bar.show(done, done) }})
	bar.clear()
	if err != nil {
		return verifyFault(err)
	}
	return a.printReport(f.output, report)
}

func verifyFault(err error) error {
	if _, trimmed := errors.AsType[*verify.TrimmedError](err); trimmed {
		return &fault{code: "E1701", exit: exitFailed, fix: "verify needs all of the input: give click_events retention.ms=-1", err: err}
	}
	if _, behind := errors.AsType[*verify.BehindError](err); behind {
		return &fault{code: "E1702", exit: exitFailed, fix: "start the job, or give it more time with --wait 10m", err: err}
	}
	return err
}

func (a *app) printReport(o output, r verify.Report) error {
	format, err := o.resolve(a.stdout)
	if err != nil {
		return err
	}
	if format != asTable {
		if err := printJSON(a.stdout, reportRow{Match: r.Match(), Report: r}); err != nil {
			return err
		}
	} else if r.Match() {
		fmt.Fprintf(a.stdout, "MATCH  %d clicks of %d users on %d pages, %d dead letters", r.Clicks, r.Users, r.Pages, r.DeadLetters)
		if r.Moving > 0 {
			fmt.Fprintf(a.stdout, "; %d more clicks arrived meanwhile", r.Moving)
		}
		fmt.Fprintln(a.stdout)
	} else {
		rows := make([]row, len(r.Shown))
		for i, d := range r.Shown {
			rows[i] = row{cells: []string{d.What, d.Name, strconv.FormatInt(d.Stored, 10), d.Recounted()}}
		}
		printTable(a.stdout, []string{"WHAT", "NAME", "STORED", "RECOUNTED"}, rows)
	}
	if !r.Match() {
		return &fault{code: "E1703", exit: exitDiffers, what: fmt.Sprintf("%d results differ from the recount of %d clicks", r.Differences, r.Clicks),
			fix: "keep the data directory, and report it: this should not happen"}
	}
	return nil
}

type reportRow struct {
	Match         bool `json:"match"`
	verify.Report `json:",inline"`
}
