package counttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"millrace/compat/oracle"
)

// Options of one run.
type Options struct {
	// Cluster counts with three `millrace serve --brokers` on three Kafka brokers; else one
	// `millrace serve` is broker and job in one.
	Cluster bool
	// Cycles is how often something is killed or paused. Until also ends the run.
	Cycles int
	Until  time.Time
	Seed   uint64
	Log    io.Writer // one line now and then; nil for none
}

// Report says what a run did.
type Report struct {
	Faults        map[string]int // by what was done
	Acked, Stored int
	Broken, Users int
	Results       int // committed counts in the result topic
	Differences   []string
	Took          time.Duration
}

func (r Report) String() string {
	return fmt.Sprintf("%v, %d events acknowledged, %d stored, %d of them broken, %d users, %d committed counts, %s in all",
		r.Faults, r.Acked, r.Stored, r.Broken, r.Users, r.Results, r.Took.Round(time.Second))
}

// Floor is an error when the run was too quiet to count.
func (r Report) Floor(cycles int) error {
	done := 0
	for _, n := range r.Faults {
		done += n
	}
	if done < cycles || r.Acked < 100*cycles || r.Broken == 0 || r.Results < countsPerCycle*cycles {
		return fmt.Errorf("INVALID: too little happened: %s", r)
	}
	return nil
}

// The bounds of one cycle: how many events must be acknowledged and how many
// counts committed before the next fault, how much longer it may wait at random, and when a run that gets nowhere is a
// failure of its own.
const (
	acksPerCycle   = 150
	countsPerCycle = 50
	waitAtMost     = 400 * time.Millisecond
	progress       = 90 * time.Second
	settle         = 3 * time.Minute
)

// world is what counts, and what can be done to it.
type world interface {
	brokers() string   // as clients want them
	queries() []string // base URLs that answer for every user
	// fault does something at random to one process and says what. It returns
	// when the process is up again.
	fault(ctx context.Context, random *rand.Rand) (string, error)
	words() string // what the processes said last
	close()
}

// Run counts under faults, comes to rest, and returns the differences as an
// error.
func Run(ctx context.Context, o Options) (Report, error) {
	began := time.Now()
	start := startEmbedded
	if o.Cluster {
		start = startCluster
	}
	w, err := start(ctx)
	if err != nil {
		return Report{}, err
	}
	defer w.close()
	r := &run{Options: o, world: w, journal: newJournal(), random: rand.New(rand.NewPCG(o.Seed, 0)),
		report: Report{Faults: map[string]int{}}, failed: make(chan error, writers+1), follower: follower{counts: map[string][]int64{}}}
	err = r.followed(ctx, func() error {
		if err := r.underLoad(ctx); err != nil {
			return err
		}
		return r.judge(ctx)
	})
	if err != nil {
		err = fmt.Errorf("seed %d, after %v: %w\nlast words:\n%s", o.Seed, r.report.Faults, err, w.words())
	}
	r.report.Acked, r.report.Took = r.journal.acks(), time.Since(began)
	return r.report, err
}

type run struct {
	Options
	world
	journal *journal
	random  *rand.Rand
	report  Report
	failed  chan error
	follower
}

// followed does work while a reader follows the results.
func (r *run) followed(ctx context.Context, work func() error) error {
	following, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() {
		if err := r.follower.run(following, r.brokers()); err != nil {
			r.failed <- err
		}
	})
	err := work()
	stop()
	reader.Wait()
	return err
}

// underLoad does one fault after the other while the writers write.
func (r *run) underLoad(ctx context.Context) error {
	load, stop := context.WithCancel(ctx)
	var writing sync.WaitGroup
	for n := range writers {
		writing.Go(func() {
			if err := write(load, r.brokers(), n, r.Seed, r.journal); err != nil {
				r.failed <- err
			}
		})
	}
	err := r.cycles(ctx)
	stop()
	writing.Wait()
	return err
}

func (r *run) cycles(ctx context.Context) error {
	for n := 0; n < r.Cycles && (r.Until.IsZero() || time.Now().Before(r.Until)); n++ {
		if err := r.awaitProgress(ctx); err != nil {
			return err
		}
		what, err := r.fault(ctx, r.random)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		r.report.Faults[what]++
		if r.Log != nil && (n+1)%10 == 0 {
			fmt.Fprintf(r.Log, "%v, %d events acknowledged\n", r.report.Faults, r.journal.acks())
		}
	}
	return r.awaitProgress(ctx)
}

// awaitProgress waits until events were acknowledged and counts committed, and a
// random moment longer: a fault before the first commit of a life proves little.
func (r *run) awaitProgress(ctx context.Context) error {
	acks, counts := r.journal.acks()+acksPerCycle, r.follower.seen()+countsPerCycle
	for deadline := time.Now().Add(progress); r.journal.acks() < acks || r.follower.seen() < counts; {
		select {
		case err := <-r.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("STUCK: %d of %d acknowledgements and %d of %d committed counts within %s", r.journal.acks()-acks+acksPerCycle,
				acksPerCycle, r.follower.seen()-counts+countsPerCycle, countsPerCycle, progress)
		}
	}
	time.Sleep(time.Duration(r.random.Int64N(int64(waitAtMost))))
	return nil
}

// judge waits until the job has counted everything, and compares. When it does
// not get there, the differences say what is missing.
func (r *run) judge(ctx context.Context) error {
	deadline := time.Now().Add(settle)
	for ; ; time.Sleep(500 * time.Millisecond) {
		evidence, err := r.evidence(ctx)
		if err == nil {
			r.count(evidence)
			if r.report.Differences = oracle.Check(evidence); len(r.report.Differences) == 0 {
				return nil
			}
			err = errors.New(strings.Join(r.report.Differences, "\n"))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s after the last event:\n%w", settle, err)
		}
	}
}

func (r *run) evidence(ctx context.Context) (oracle.Evidence, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	e, err := collect(ctx, r.brokers())
	if err != nil {
		return e, err
	}
	e.Sent, e.Followed = r.journal.sent, r.snapshot()
	for n := range users {
		user := fmt.Sprintf("user_%d", n)
		bases := r.queries()
		clicks, err := answer(ctx, bases[n%len(bases)], user)
		if err != nil {
			return e, err
		}
		e.Answers[user] = clicks
	}
	return e, nil
}

func (r *run) count(e oracle.Evidence) {
	r.report.Stored, r.report.Broken, r.report.Users = len(e.Input), len(e.DeadLetters), len(e.Outputs)
	r.report.Results = 0
	for _, counts := range e.Followed {
		r.report.Results += len(counts)
	}
}
