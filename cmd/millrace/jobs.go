package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"millrace/internal/broker"
	"millrace/internal/client"
	"millrace/internal/engine"
	"millrace/internal/log"
	"millrace/internal/vfs"
	"millrace/internal/web"
	"millrace/record"
)

const jobsHelp = `List, describe, plan and reset the jobs of any Kafka cluster: the click job, and
programs made with the library. What is shown stands on the cluster, in the job's
consumer group and its changelog topics, so nobody has to run the job.

With --data-dir the commands work on the data directory of a server, or of a program
with its own broker, that is not running.`

const jobsExample = `  millrace jobs list
  millrace jobs describe click-count
  millrace jobs plan --brokers kafka-1:9092        # before an upgrade: exit code 6 if it does not fit
  millrace jobs reset click-count --data-dir ./millrace-data --yes`

func (a *app) jobsCommand() *cobra.Command {
	return noun("jobs", "List, describe, plan and reset stream processing jobs", jobsHelp, jobsExample,
		a.jobsList(), a.jobsDescribe(), a.jobsPlan(), a.jobsReset())
}

// jobPlace is where jobs stand: a cluster, or a data directory at rest.
type jobPlace struct {
	cluster cluster
	dataDir string
}

func (p *jobPlace) register(cmd *cobra.Command) {
	p.cluster.register(cmd)
	registerAtRest(cmd.Flags(), &p.dataDir)
}

func (p *jobPlace) atRest() bool { return p.dataDir != "" && p.cluster.brokers == "" }

// settle corrects what a group at rest still says of its static members: nobody
// runs a job there.
func (p *jobPlace) settle(j *engine.Job) {
	if p.atRest() && len(j.Instances) > 0 {
		j.State, j.Instances = "stopped", nil
	}
}

// open does work with the way to the chosen place. A data directory at rest gets
// a broker for as long as that takes.
func (p *jobPlace) open(ctx context.Context, work func(client.Config) error) error {
	config, err := p.cluster.config()
	if err != nil {
		return err
	}
	if !p.atRest() {
		return jobFault(work(config))
	}
	disk, err := vfs.OpenOS(p.dataDir)
	if err != nil {
		return directoryFault(p.dataDir, err)
	}
	b, err := broker.Open(broker.Config{FS: disk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		fault := directoryFault(p.dataDir, err)
		if f := faultOf(fault); errors.Is(err, log.ErrLocked) {
			f.fix = "it runs: leave out --data-dir, and name its Kafka address with --brokers; to reset its job, stop it first"
		}
		return errors.Join(fault, disk.Close())
	}
	config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return b.Dial(ctx) }
	err = jobFault(work(config))
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return errors.Join(err, b.Close(closing), disk.Close())
}

// jobFault finds the words for what went wrong with a job.
func jobFault(err error) error {
	if none, ok := errors.AsType[*engine.NoJobError](err); ok {
		return &fault{code: "E1811", exit: exitNotFound, what: none.Error(), fix: "millrace jobs list", err: err}
	}
	if p, ok := errors.AsType[*engine.Problem](err); ok {
		return &fault{code: "E1813", exit: exitRefused, what: p.What, fix: p.Fix, err: err}
	}
	if errors.Is(err, client.ErrGroupInUse) {
		return &fault{code: "E1814", exit: exitRefused, err: err,
			fix: "stop its instances; one with an --instance-id stays in the group for ten seconds more, or take it out with --force"}
	}
	return err
}

func (a *app) jobsList() *cobra.Command {
	var (
		at  jobPlace
		out output
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs with state, instances and lag",
		Long: `List the jobs that stand on the cluster: whether they run, in how many instances, how
many records they have not committed yet, and which versions of their programs run.`,
		Example: "  millrace jobs list\n  millrace jobs list -o jsonl",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return at.open(cmd.Context(), func(config client.Config) error {
				jobs, err := engine.Jobs(cmd.Context(), config)
				if err != nil {
					return err
				}
				var rows []row
				for i := range jobs {
					at.settle(&jobs[i])
					j := jobOf(&jobs[i])
					rows = append(rows, row{cells: []string{j.Name, j.State, fmt.Sprint(j.Instances), fmt.Sprint(j.Lag), dash(strings.Join(j.Versions, ", ")), dash(j.Fingerprint)}, value: j})
				}
				return a.print(out, []string{"JOB", "STATE", "INSTANCES", "LAG", "VERSION", "FINGERPRINT"}, rows)
			})
		},
	}
	at.register(cmd)
	out.register(cmd)
	return cmd
}

func (a *app) jobsDescribe() *cobra.Command {
	var (
		at  jobPlace
		out output
	)
	cmd := &cobra.Command{
		Use:   "describe JOB",
		Short: "Show instances, inputs, state and watermark of a job",
		Long: `Show a job as it stands on the cluster: the instances that run it, with the partitions
that each has; the offsets that it has committed in its inputs; and for each state and
partition up to which input offset it counts, the watermark, and its changelog. The
fingerprint is equal for programs whose state has the same form.`,
		Example: "  millrace jobs describe click-count\n  millrace jobs describe click-count -o json",
		Args:    takes("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return at.open(cmd.Context(), func(config client.Config) error {
				job, err := engine.FindJob(cmd.Context(), config, args[0])
				if err != nil {
					return err
				}
				at.settle(job)
				return a.printJob(out, detailsOf(job))
			})
		},
		ValidArgsFunction: a.completeGroups(&at.cluster),
	}
	at.register(cmd)
	out.register(cmd)
	return cmd
}

// printJob writes one job: as a JSON object, or as one table after the other.
func (a *app) printJob(o output, j web.Job) error {
	format, err := o.resolve(a.stdout)
	if err != nil {
		return err
	}
	if format != asTable {
		return a.printOne(o, nil, row{value: j})
	}
	a.say("%s  %s  instances: %d  lag: %d records  watermark: %s  fingerprint: %s", j.Name, j.State, j.Instances, j.Lag, timeText(j.Watermark), dash(j.Fingerprint))
	var members, inputs, stores []row
	for _, m := range j.Members {
		members = append(members, row{cells: []string{m.ID, dash(m.InstanceID), dash(m.Endpoint), dash(m.Version), m.Host, dash(partitionsText(m.Partitions))}})
	}
	for _, in := range j.Inputs {
		committed := record.Offset(-1)
		if in.Committed != nil {
			committed = *in.Committed
		}
		inputs = append(inputs, row{cells: []string{string(in.Topic), fmt.Sprint(in.Partition), offsetText(committed), fmt.Sprint(in.End), fmt.Sprint(in.Lag)}})
	}
	for _, s := range j.Stores {
		for _, p := range s.Partitions {
			stores = append(stores, row{cells: []string{s.Name, fmt.Sprint(p.Partition), offsetsText(p.Offsets), timeText(p.Watermark), fmt.Sprint(p.Records), string(s.Changelog), dash(s.Form)}})
		}
	}
	printTable(a.stdout, []string{"INSTANCE", "STATIC-ID", "ENDPOINT", "VERSION", "HOST", "PARTITIONS"}, members)
	fmt.Fprintln(a.stdout)
	printTable(a.stdout, []string{"INPUT", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"}, inputs)
	fmt.Fprintln(a.stdout)
	printTable(a.stdout, []string{"STATE", "PARTITION", "COUNTED-TO", "WATERMARK", "RECORDS", "CHANGELOG", "FORM"}, stores)
	return nil
}

// partitionsText is "a/0 a/1 b/0" said shorter: "a 0,1; b 0".
func partitionsText(all []string) string {
	var b strings.Builder
	last := ""
	for _, tp := range all {
		topic, p, _ := strings.Cut(tp, "/") // a topic's name has none
		switch {
		case topic == last:
			b.WriteString("," + p)
		case last != "":
			b.WriteString("; " + topic + " " + p)
		default:
			b.WriteString(topic + " " + p)
		}
		last = topic
	}
	return b.String()
}

func timeText(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func offsetsText(offsets map[record.Topic]record.Offset) string {
	var all []string
	for topic, offset := range offsets {
		all = append(all, fmt.Sprintf("%s@%d", string(topic), offset))
	}
	slices.Sort(all)
	return dash(strings.Join(all, " "))
}

func timeOf(ts record.Timestamp) *time.Time {
	if ts == record.NoTimestamp {
		return nil
	}
	t := ts.Time().UTC()
	return &t
}

// jobOf is a job in the words of the list.
func jobOf(j *engine.Job) web.Job {
	return web.Job{Name: j.App, State: j.State, Instances: len(j.Instances), Lag: j.Lag(), Versions: append([]string{}, j.Versions()...),
		Watermark: timeOf(j.Watermark), Fingerprint: j.Fingerprint}
}

// detailsOf is a job with all of its parts.
func detailsOf(j *engine.Job) web.Job {
	job := jobOf(j)
	job.Members, job.Inputs, job.Stores = []web.JobMember{}, []web.JobInput{}, []web.JobStore{}
	for _, m := range j.Instances {
		member := web.JobMember{ID: m.ID, InstanceID: m.InstanceID, Host: m.Host, Partitions: []string{}}
		if m.Job != nil {
			member.ID, member.Endpoint, member.Version = m.Job.TransactionalID, m.Job.Endpoint, m.Job.Version
		}
		for _, tp := range m.Assigned {
			member.Partitions = append(member.Partitions, fmt.Sprintf("%s/%d", string(tp.Topic), tp.Partition))
		}
		job.Members = append(job.Members, member)
	}
	for _, in := range j.Inputs {
		input := web.JobInput{Topic: in.Topic, Partition: in.Partition, End: in.End, Lag: in.Lag()}
		if in.Committed >= 0 {
			input.Committed = &in.Committed
		}
		job.Inputs = append(job.Inputs, input)
	}
	for _, s := range j.Stores {
		store := web.JobStore{Name: s.Name, Changelog: s.Changelog, Form: s.Form, Reads: append([]record.Topic{}, s.Reads...)}
		for _, p := range s.Partitions {
			store.Partitions = append(store.Partitions, web.JobPart{Partition: p.Partition, Offsets: p.Offsets, Watermark: timeOf(p.Watermark), Records: p.Records})
		}
		job.Stores = append(job.Stores, store)
	}
	job.Repartitions = append([]record.Topic{}, j.Repartitions...)
	return job
}

// clusterJobs tells the web room about jobs.
type clusterJobs struct{ config client.Config }

func (c clusterJobs) Jobs(ctx context.Context) ([]web.Job, error) {
	jobs, err := engine.Jobs(ctx, c.config)
	all := make([]web.Job, len(jobs))
	for i := range jobs {
		all[i] = jobOf(&jobs[i])
	}
	return all, err
}

func (c clusterJobs) Job(ctx context.Context, name string) (*web.Job, error) {
	job, err := engine.FindJob(ctx, c.config, name)
	if _, none := errors.AsType[*engine.NoJobError](err); none {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	details := detailsOf(job)
	return &details, nil
}
