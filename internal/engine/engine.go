package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/record"
)

// Engine runs a plan on one instance.
type Engine struct {
	options Options
	metrics *metrics
	life    context.Context           // of the session that runs
	checked bool                      // the cluster was held against the plan, see preflight
	inputs  map[record.Topic][16]byte // the topics that the first session has read, see sameInputs
	owing   owing

	// tables guards the tasks of the instance that runs. The loop holds it, but
	// while it waits for the cluster; readers share it.
	tables struct {
		sync.RWMutex
		of *instance
	}

	mu struct {
		sync.Mutex
		status    Status
		troubled  error     // of the disk
		owedSince time.Time // when the first record was taken that is not committed; zero: there is none
		refused   error     // why the last transaction since then was not committed
	}
}

// New makes an engine; Run starts it. All faults of the options are reported at
// once.
func New(o Options) (*Engine, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("job %q: %w", o.Plan.App, err)
	}
	e := &Engine{options: o}
	e.metrics = newMetrics(o.Registerer, o.Plan.App, e)
	e.mu.status = Status{State: Starting, Since: o.Now()}
	return e, nil
}

// Run runs the job until ctx ends, with a last commit, and then returns nil. A
// cluster that is away is waited for, and so is everything else that may heal.
// What no waiting heals is returned: *[PreflightError], an error of a stage with
// the policy Stop, a state directory that cannot be used.
func (e *Engine) Run(ctx context.Context) error {
	db, err := store.Open(e.options.Dir, e.options.Store)
	if err != nil {
		return e.failed(fmt.Errorf("job %q: %w", e.options.Plan.App, err))
	}
	err = e.run(ctx, db)
	if closing := db.Close(); closing != nil {
		e.options.Logger.Warn("state was not closed in order: the next start restores more", "job", e.options.Plan.App, "err", closing)
	}
	if err != nil {
		return e.failed(fmt.Errorf("job %q: %w", e.options.Plan.App, err))
	}
	e.set(Stopped, nil)
	return nil
}

// run makes one session after the other.
func (e *Engine) run(ctx context.Context, db *store.DB) error {
	for wait := firstWait; ; wait = min(2*wait, longestWait) {
		began := e.options.Now()
		err := e.session(ctx, db)
		if final(err) {
			return err
		}
		if ctx.Err() != nil {
			if err != nil {
				e.options.Logger.Warn("the last commit failed: what it held is counted after the next start", "job", e.options.Plan.App, "err", err)
			}
			return nil
		}
		e.options.Logger.Warn("the job has lost its session and starts a new one", "job", e.options.Plan.App, "err", err)
		e.metrics.sessions.Inc()
		e.set(Degraded, err)
		e.refused(err)
		if e.options.Now().Sub(began) > 10*longestWait {
			wait = firstWait
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// Pauses between sessions.
const (
	firstWait   = 50 * time.Millisecond
	longestWait = 3 * time.Second
)

// final reports whether no further session can help.
func final(err error) bool {
	_, refused := errors.AsType[*PreflightError](err)
	_, stopped := errors.AsType[*stepError](err)
	return refused || stopped
}

// session is one membership in the group, from preflight to leaving.
func (e *Engine) session(ctx context.Context, db *store.DB) error {
	admin, err := client.NewAdmin(e.options.Client)
	if err != nil {
		return err
	}
	defer admin.Close()
	layout, err := e.preflight(ctx, admin, e.transactionalID(db))
	if err != nil {
		return err
	}
	reader, err := client.NewReader(e.options.Client)
	if err != nil {
		return err
	}
	defer reader.Close()
	config := e.sessionConfig(db, layout)
	session, err := client.NewSession(e.options.Client, config)
	if err != nil {
		return err
	}
	defer session.Close()
	opening, cancel := context.WithTimeout(ctx, 2*e.options.TransactionTimeout)
	defer cancel()
	if err := session.Open(opening); err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	e.life = life
	in := &instance{
		engine: e, options: &e.options, session: session, reader: reader, admin: admin, db: db, layout: layout, transactionalID: config.TransactionalID,
		units:   make(map[unitKey]*unit),
		turns:   make(map[unitKey]turn),
		inputs:  make(map[record.TopicPartition][]*subscriber),
		limits:  e.options.limits(),
		started: make(chan startResult, 64),
	}
	ended := make(chan struct{})
	in.starters.Go(func() { in.hurry(ctx, ended) })
	e.tables.Lock()
	e.tables.of = in
	err = in.run(ctx)
	close(ended)
	e.tables.of = nil
	e.tables.Unlock()
	end()
	in.starters.Wait()
	return err
}

// transactionalID is this instance's, also after a restart.
func (e *Engine) transactionalID(db *store.DB) string {
	name := e.options.InstanceID
	if name == "" {
		name = db.Instance()
	}
	return e.options.Plan.App + "-" + name
}

func (e *Engine) sessionConfig(db *store.DB, l *layout) client.SessionConfig {
	return client.SessionConfig{
		Group:              e.options.Plan.App,
		TransactionalID:    e.transactionalID(db),
		InstanceID:         e.options.InstanceID,
		Endpoint:           e.options.Endpoint,
		Version:            e.options.Version,
		Groups:             topicsOf(l.groups),
		TransactionTimeout: e.options.TransactionTimeout,
		SessionTimeout:     e.options.SessionTimeout,
		FetchBytes:         e.options.fetchBytes(),
	}
}
