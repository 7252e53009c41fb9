package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"millrace/internal/clicks"
	"millrace/internal/engine"
)

// jobFlags are the settings of the click job, as given.
type jobFlags struct {
	results        string
	keyed          bool
	commitInterval time.Duration
	instanceID     string
}

const allResults = "click_counts,click_counts_per_minute,page_counts,click_alerts"

func (f *jobFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.results, "results", allResults, "which results the click job computes")
	flags.BoolVar(&f.keyed, "keyed", false, "events carry their user as key: no hop to bring a user's clicks together")
	flags.DurationVar(&f.commitInterval, "commit-interval", 100*time.Millisecond, "how long a counted click waits at most until everybody sees it")
	flags.StringVar(&f.instanceID, "instance-id", "", "name of this instance: a restart under the same name within ten seconds moves nothing")
}

// jobSettings are checked jobFlags.
type jobSettings struct {
	clicks.Options
	commitInterval time.Duration
	instanceID     string
}

func (f jobFlags) settings() (jobSettings, error) {
	results, err := clicks.ParseResults(f.results)
	if err != nil {
		return jobSettings{}, usage("use a list of them, such as --results click_counts,page_counts", "--results: %s", err)
	}
	if f.commitInterval < time.Millisecond || f.commitInterval > 5*time.Second {
		return jobSettings{}, usage("use 1ms to 5s", "--commit-interval is %v", f.commitInterval)
	}
	return jobSettings{Options: clicks.Options{Results: results, Keyed: f.keyed}, commitInterval: f.commitInterval, instanceID: f.instanceID}, nil
}

// runningJob is the click job with what runs it.
type runningJob struct {
	*clicks.Job
	engine *engine.Engine
}

// startJob runs the click job until the server stops, which ends it with a last
// commit.
func (n *node) startJob(registry *prometheus.Registry) (*runningJob, error) {
	settings := n.settings.job
	job, err := clicks.New(settings.Options)
	if err != nil {
		return nil, err
	}
	e, err := engine.New(engine.Options{
		Plan:           *job.Topology().Plan(),
		Client:         n.client,
		Dir:            filepath.Join(n.settings.dataDir, ".jobs", clicks.JobName),
		InstanceID:     n.instanceID(),
		Endpoint:       n.http.said(),
		Version:        version,
		CommitInterval: settings.commitInterval,
		MemoryBytes:    n.settings.memoryBytes,
		Registerer:     registry,
		Logger:         n.logger,
	})
	if err != nil {
		return nil, err
	}
	job.Topology().Attach(e)
	running, cancel := context.WithCancel(context.Background())
	ended := n.run("click job", func() error { return e.Run(running) })
	letters := n.run("dead letters", func() error { return job.FollowDeadLetters(running, n.client, n.logger) })
	n.onStop("click job", func(context.Context) error { cancel(); <-ended; <-letters; return nil })
	return &runningJob{job, e}, nil
}

// instanceID makes the only instance of an embedded broker a static member: after
// a kill -9 it gets its tasks back at once, not when its session has run out.
func (n *node) instanceID() string {
	if id := n.settings.job.instanceID; id != "" || n.settings.external() {
		return id
	}
	return "serve"
}
