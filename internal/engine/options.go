package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"millrace/internal/client"
	"millrace/internal/store"
	"millrace/internal/topology"
)

// Options say how a plan is run.
type Options struct {
	// Plan is the job; Client reaches the cluster.
	Plan   topology.Plan
	Client client.Config

	// Dir is where this instance keeps its state; no two share one. Store says how.
	Dir   string
	Store store.Options

	// InstanceID makes the instance a static member of the group: a restart within
	// the session timeout moves nothing. Empty is a dynamic member.
	InstanceID string
	// Endpoint is the address under which other instances reach this one's queries.
	Endpoint string
	// Version is that of the program, shown with the instance.
	Version string

	// CommitInterval is the longest that a processed record waits for its commit,
	// while commits are fast: when each takes longer than a fifth of the interval,
	// the interval grows up to a quarter of TransactionTimeout. When there is
	// nothing more to read and only few records wait, a twentieth of it is enough.
	// Default 100ms.
	CommitInterval time.Duration
	// TransactionTimeout is how long the brokers let a transaction be open; half
	// of it forces a commit. Default 10s.
	TransactionTimeout time.Duration
	// SessionTimeout is how long an instance may be silent until its tasks move.
	// Default 10s.
	SessionTimeout time.Duration
	// FlushInterval is the longest that a committed change, or only a position,
	// waits for its way to the disk: what a restart replays. Default 10s.
	FlushInterval time.Duration
	// MemoryBytes bounds tables, open transactions, fetches and Pebble together.
	// At the bound a commit comes early, clean entries are evicted, and nothing is
	// fetched meanwhile. Default 256 MiB.
	MemoryBytes int64
	// Threads bounds how many tasks step at the same time. Default GOMAXPROCS.
	Threads int
	// StopTimeout bounds the last commit of a clean stop. Default 4s.
	StopTimeout time.Duration
	// IdleAfter and MaxAhead are the plan's, see topology.TaskConfig.
	IdleAfter time.Duration
	MaxAhead  time.Duration

	// Registerer gets the metrics; nil leaves them unregistered. Logger gets what
	// an operator should know; nil is nothing. Now is the clock; nil is time.Now.
	Registerer prometheus.Registerer
	Logger     *slog.Logger
	Now        func() time.Time

	faults faults
}

func (o Options) withDefaults() Options {
	defaultTo(&o.CommitInterval, 100*time.Millisecond)
	defaultTo(&o.TransactionTimeout, 10*time.Second)
	defaultTo(&o.SessionTimeout, 10*time.Second)
	defaultTo(&o.FlushInterval, 10*time.Second)
	defaultTo(&o.MemoryBytes, 256<<20)
	defaultTo(&o.Threads, runtime.GOMAXPROCS(0))
	defaultTo(&o.StopTimeout, 4*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Store.Logger == nil {
		o.Store.Logger = o.Logger
	}
	defaultTo(&o.Store.CacheBytes, o.MemoryBytes/16)
	defaultTo(&o.Store.MemTableBytes, uint64(max(1<<20, o.MemoryBytes/64)))
	defaultTo(&o.Client.BufferBytes, int(max(4<<20, o.MemoryBytes/8)))
	return o
}

func defaultTo[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate reports every fault at once.
func (o Options) validate() error {
	var faults []error
	if o.Plan.App == "" {
		faults = append(faults, errors.New("the job has no application id"))
	}
	if len(o.Plan.Subs) == 0 {
		faults = append(faults, errors.New("the job does nothing: it has no operator"))
	}
	if o.Dir == "" {
		faults = append(faults, errors.New("the state directory is not set"))
	}
	if o.CommitInterval < 0 || o.CommitInterval > o.TransactionTimeout/2 {
		faults = append(faults, fmt.Errorf("a commit interval of %v does not fit into the transaction timeout of %v: use at most half of it", o.CommitInterval, o.TransactionTimeout))
	}
	if o.MemoryBytes < 16<<20 {
		faults = append(faults, fmt.Errorf("a memory budget of %d bytes is too small: use at least 16 MiB", o.MemoryBytes))
	}
	return errors.Join(append(faults, o.Client.Validate())...)
}

// Shares of the memory budget. Pebble and the client's buffer have theirs in
// withDefaults; what is fetched ahead has an eighth, tables get half.
func (o Options) fetchBytes() int32 { return int32(min(64<<20, o.MemoryBytes/8)) }
func (o Options) tableBytes() int64 { return o.MemoryBytes / 2 }
func (o Options) openBytes() int64  { return o.MemoryBytes / 8 }
func (o Options) dirtyBytes() int64 { return o.MemoryBytes / 8 }
