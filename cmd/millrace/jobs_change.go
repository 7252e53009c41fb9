package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/clicks"
	"millrace/internal/client"
	"millrace/internal/engine"
)

const jobsPlanHelp = `Say what a start of this binary's click job would change on the cluster, and whether
it fits what stands there: topics that would be made, state that goes on, was renamed
or has another window, inputs with another number of partitions; rights that are
missing; replicas that can never be. Nothing is changed. The exit code is 6 when a
start would be refused or would count wrongly.

Programs made with the library do the same for their own job with --plan.`

func (a *app) jobsPlan() *cobra.Command {
	var (
		at  jobPlace
		out output
		job = jobFlags{commitInterval: 100 * time.Millisecond}
	)
	cmd := &cobra.Command{
		Use:     "plan",
		Short:   "Say what a start of the click job would change, and whether it fits",
		Long:    jobsPlanHelp,
		Example: "  millrace jobs plan\n  millrace jobs plan --brokers kafka-1:9092 --command-config prod.properties --results click_counts -o json",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := job.settings()
			if err != nil {
				return err
			}
			clickJob, err := clicks.New(settings.Options)
			if err != nil {
				return err
			}
			return at.open(cmd.Context(), func(config client.Config) error {
				review, err := engine.ReviewPlan(cmd.Context(), engine.Options{Plan: *clickJob.Topology().Plan(), Client: config, InstanceID: settings.instanceID})
				if err != nil {
					return err
				}
				if review.Job != nil {
					at.settle(review.Job)
				}
				return a.printReview(out, review)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&job.results, "results", allResults, "which results the click job computes")
	flags.BoolVar(&job.keyed, "keyed", false, "events carry their user as key: no hop to bring a user's clicks together")
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func (a *app) printReview(o output, r *engine.Review) error {
	standing := "nothing of it stands there"
	if r.Job != nil {
		standing = fmt.Sprintf("it is %s there with %d instances, fingerprint %s", r.Job.State, len(r.Job.Instances), dash(r.Job.Fingerprint))
	}
	a.say("%s  fingerprint %s  transaction.version %d; %s", r.App, r.Fingerprint, r.TransactionVersion, standing)
	var rows []row
	for _, c := range r.Changes {
		detail := c.Detail
		if c.Fix != "" {
			detail += "; fix: " + c.Fix
		}
		rows = append(rows, row{cells: []string{string(c.Kind), c.What, detail}, value: struct {
			Job    string            `json:"job"`
			Change engine.ChangeKind `json:"change"`
			What   string            `json:"what"`
			Detail string            `json:"detail"`
			Fix    string            `json:"fix,omitzero"`
		}{r.App, c.Kind, c.What, c.Detail, c.Fix}})
	}
	if err := a.print(o, []string{"CHANGE", "WHAT", "DETAIL"}, rows); err != nil {
		return err
	}
	if !r.Compatible() {
		return &fault{code: "E1815", exit: exitDiffers, what: fmt.Sprintf("job %s does not fit what is on the cluster", r.App), fix: "do what stands at each line with incompatible"}
	}
	return nil
}

const jobsResetHelp = `Make a stopped job count anew: delete its committed offsets, its changelog and
repartition topics, and with --data-dir its state on this machine (on others it is
dropped by itself when the job starts). Inputs stay, and so do results, which are
overwritten as the job counts; millrace topics delete removes them before.

The job must be stopped: it is refused while instances are in its group. Without
--yes it shows what would go. POSITION is as for millrace groups reset; from anywhere
but the beginning, counts are those of the records from there on.`

const jobsResetExample = `  millrace jobs reset click-count                                      # what would go
  millrace jobs reset click-count --yes
  millrace jobs reset click-count --data-dir ./millrace-data --yes     # its server is stopped
  millrace jobs reset click-count --to -1h --yes                       # count the last hour only`

// jobReset are the flags of a reset.
type jobReset struct {
	to                   string
	earliest, latest     bool
	dryRun, force, reset bool
}

func (f *jobReset) start() (client.Start, error) {
	given := 0
	for _, is := range []bool{f.to != "", f.earliest, f.latest} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return client.Start{}, usage("choose one", "--to, --to-earliest and --to-latest exclude each other")
	case f.dryRun && f.reset:
		return client.Start{}, usage("choose one", "--dry-run and --yes exclude each other")
	case f.latest:
		return client.FromEnd(), nil
	case f.to == "":
		return client.FromBeginning(), nil
	}
	return parsePosition(f.to, time.Now())
}

func (a *app) jobsReset() *cobra.Command {
	var (
		at  jobPlace
		out output
		f   jobReset
	)
	cmd := &cobra.Command{
		Use:     "reset JOB",
		Short:   "Make a stopped job count anew",
		Long:    jobsResetHelp,
		Example: jobsResetExample,
		Args:    takes("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			from, err := f.start()
			if err != nil {
				return err
			}
			return at.open(cmd.Context(), func(config client.Config) error {
				reset, err := engine.PlanReset(cmd.Context(), config, args[0], from)
				if err != nil {
					return err
				}
				defer reset.Close()
				reset.Force = f.force || at.atRest() // at rest nobody can be running
				return a.resetJob(cmd.Context(), at, reset, f.reset, out)
			})
		},
		ValidArgsFunction: a.completeGroups(&at.cluster),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "read the inputs from: "+positionHelp+" (default beginning)")
	flags.BoolVar(&f.earliest, "to-earliest", false, "as --to beginning, the default")
	flags.BoolVar(&f.latest, "to-latest", false, "as --to end: count what comes from now on")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only show what would go, the default")
	flags.BoolVar(&f.force, "force", false, "take members out of the group that are gone without having said so")
	flags.BoolVar(&f.reset, "yes", false, "really do it")
	excludes(flags, "to", "to-earliest", "to-latest")
	excludes(flags, "to-earliest", "to-latest")
	excludes(flags, "dry-run", "yes")
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func (a *app) resetJob(ctx context.Context, at jobPlace, r *engine.Reset, yes bool, out output) error {
	dir := stateDir(at.dataDir, r.Job.App)
	if yes {
		if err := r.Do(ctx); err != nil {
			return err
		}
		if dir != "" {
			if err := engine.DropState(dir); err != nil {
				return fmt.Errorf("the job was reset, but its state in %s is still there; it is dropped at the next start: %w", dir, err)
			}
		}
		a.say("job %s was reset: it counts anew when it is started", r.Job.App)
	} else {
		if len(r.Job.Instances) > 0 && !r.Force {
			a.say("job %s is in use by %d instances: they must be stopped before", r.Job.App, len(r.Job.Instances))
		}
		a.say("dry run: nothing was changed. Add --yes to reset job %s.", r.Job.App)
	}
	for _, in := range r.Trimmed() {
		a.say("note: %s begins at offset %d; what was before is gone and not counted again", in.TopicPartition, in.Start)
	}
	return a.print(out, []string{"WHAT", "NAME", "FROM", "TO"}, resetRows(r, dir))
}

func resetRows(r *engine.Reset, dir string) []row {
	var rows []row
	add := func(what, name string, from, to string) {
		rows = append(rows, row{cells: []string{what, name, dash(from), to}, value: struct {
			Job  string `json:"job"`
			What string `json:"what"`
			Name string `json:"name"`
			From string `json:"from,omitzero"`
			To   string `json:"to"`
		}{r.Job.App, what, name, from, to}})
	}
	for _, m := range r.Moves {
		from := ""
		if m.From >= 0 {
			from = fmt.Sprint(m.From)
		}
		add("offset", m.TopicPartition.String(), from, fmt.Sprint(m.To))
	}
	for _, t := range r.Topics {
		add("topic", string(t), "", "deleted")
	}
	if dir != "" {
		add("directory", dir, "", "deleted")
	}
	return rows
}

// stateDir is where a job keeps its state below a data directory: beside the
// broker's data, or, of a program on a cluster, the directory itself. Empty if
// there is none.
func stateDir(dataDir, job string) string {
	if dataDir == "" {
		return ""
	}
	for _, dir := range []string{filepath.Join(dataDir, ".jobs", job), dataDir} {
		if text, err := os.ReadFile(filepath.Join(dir, "format")); err == nil && strings.HasPrefix(string(text), "millrace-state ") {
			return dir
		}
	}
	return ""
}
