package web

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"millrace/record"
)

// Jobs are the jobs of the cluster behind the server.
type Jobs interface {
	Jobs(ctx context.Context) ([]Job, error)
	// Job is one of them with all of its parts; nil when it is not there.
	Job(ctx context.Context, name string) (*Job, error)
}

// Job is a job as it stands on a cluster, whether somebody runs it or not. The
// fields below Fingerprint are told of one job only.
type Job struct {
	Name        string     `json:"job"`
	State       string     `json:"state"` // running, rebalancing, stopped, without offsets
	Instances   int        `json:"instances"`
	Lag         int64      `json:"lag"`
	Versions    []string   `json:"versions"`
	Watermark   *time.Time `json:"watermark"`
	Fingerprint string     `json:"fingerprint"`

	Members      []JobMember    `json:"members,omitzero"`
	Inputs       []JobInput     `json:"inputs,omitzero"`
	Stores       []JobStore     `json:"stores,omitzero"`
	Repartitions []record.Topic `json:"repartition_topics,omitzero"`
}

// JobMember is a running instance.
type JobMember struct {
	ID         string   `json:"id"`
	InstanceID string   `json:"instance_id,omitzero"`
	Endpoint   string   `json:"endpoint,omitzero"`
	Version    string   `json:"version,omitzero"`
	Host       string   `json:"host"`
	Partitions []string `json:"partitions"` // TOPIC/PARTITION
}

// JobInput is where a job stands in one partition that it reads.
type JobInput struct {
	Topic     record.Topic     `json:"topic"`
	Partition record.Partition `json:"partition"`
	Committed *record.Offset   `json:"current_offset"` // null: none
	End       record.Offset    `json:"log_end_offset"`
	Lag       int64            `json:"lag"`
}

// JobStore is a store with its changelog.
type JobStore struct {
	Name       string         `json:"store"`
	Changelog  record.Topic   `json:"changelog"`
	Form       string         `json:"form"`
	Reads      []record.Topic `json:"reads"`
	Partitions []JobPart      `json:"partitions"`
}

// JobPart is the part of a store that one task keeps, as of its last commit.
type JobPart struct {
	Partition record.Partition               `json:"partition"`
	Offsets   map[record.Topic]record.Offset `json:"offsets"` // null: no commit yet
	Watermark *time.Time                     `json:"watermark"`
	Records   int64                          `json:"changelog_records"`
}

// askingWithin bounds how long the cluster may take to tell about its jobs. One
// question is asked at a time; others wait that long for their turn.
const askingWithin = 10 * time.Second

// ask runs a question about jobs in its turn.
func (s *Server) ask(w http.ResponseWriter, r *http.Request, question func(context.Context) error) {
	ctx, cancel := context.WithTimeout(r.Context(), askingWithin)
	defer cancel()
	select {
	case s.asking <- struct{}{}:
		defer func() { <-s.asking }()
	case <-ctx.Done():
		problemUnanswered(ctx.Err()).write(w)
		return
	}
	if err := question(ctx); err != nil {
		problemUnanswered(err).write(w)
	}
}

func (s *Server) jobs(w http.ResponseWriter, r *http.Request) {
	s.ask(w, r, func(ctx context.Context) error {
		all, err := s.options.Jobs.Jobs(ctx)
		if err != nil {
			return err
		}
		s.answer(w, http.StatusOK, struct {
			Jobs []Job `json:"jobs"`
		}{all})
		return nil
	})
}

func (s *Server) job(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	s.ask(w, r, func(ctx context.Context) error {
		job, err := s.options.Jobs.Job(ctx, name)
		switch {
		case err != nil:
			return err
		case job == nil:
			newProblem(http.StatusNotFound, "E1811", "job not found", fmt.Sprintf("there is no job %q", clip(name)), "see which there are: /v1/jobs").write(w)
		default:
			s.answer(w, http.StatusOK, job)
		}
		return nil
	})
}

func problemUnanswered(err error) problem {
	p := newProblem(http.StatusServiceUnavailable, "E1812", "the cluster did not answer", fmt.Sprintf("the cluster did not tell about its jobs: %v", err), "ask again; /readyz shows how this instance is")
	p.retryAfterSeconds = 1
	return p
}
