package killtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"millrace/compat/probe"
	"millrace/compat/target"
)

// Options of one run.
type Options struct {
	Target target.Options
	// Cycles is how often the broker is killed. Until also ends the run.
	Cycles int
	Until  time.Time
	Seed   uint64
	Log    io.Writer // one line now and then; nil for none
	// WhileDown is called between a kill and the restart: a test plants here
	// the damage that the checker has to find.
	WhileDown func(cycle int, b *target.Broker) error
}

// Report says what a run did. A run that did little proves little: see Floor.
type Report struct {
	Cycles       int
	KilledEarly  int // restarts that were killed before they were ready
	Acked        int64
	Stored       int64
	Repeated     int64 // stored twice by writers that are not idempotent
	Commits      int64
	ByGroup      map[string]int64 // commits
	Polls        int64
	SlowestReady time.Duration
	MedianReady  time.Duration
	Took         time.Duration
}

func (r Report) String() string {
	return fmt.Sprintf("%d kills (%d of them during recovery), %d records acknowledged, %d stored (%d repeats of plain writers), "+
		"%d commits, %d polls, ready again after %s (median) to %s, %s in all",
		r.Cycles, r.KilledEarly, r.Acked, r.Stored, r.Repeated, r.Commits, r.Polls,
		r.MedianReady.Round(time.Millisecond), r.SlowestReady.Round(time.Millisecond), r.Took.Round(time.Second))
}

// Floor is an error when the run was too quiet to count.
func (r Report) Floor() error {
	switch {
	case r.Cycles == 0:
		return errors.New("INVALID: nothing was killed")
	case r.Acked < int64(100*r.Cycles):
		return fmt.Errorf("INVALID: %d acknowledgements in %d cycles", r.Acked, r.Cycles)
	case r.ByGroup[memberGroup] < int64(r.Cycles) || r.ByGroup[counterGroup] < int64(r.Cycles) || r.Polls == 0:
		return fmt.Errorf("INVALID: commits %v and %d polls in %d cycles", r.ByGroup, r.Polls, r.Cycles)
	}
	return nil
}

// The topics of the test: one that spreads, and one with a single hot log.
var layout = map[string]int{"kill-wide": 4, "kill-narrow": 1}

// The bounds of one cycle: how much must be acknowledged before the next kill,
// and when a broker that acknowledges nothing is a failure of its own.
const (
	acksPerCycle = 300
	progress     = 90 * time.Second
)

type run struct {
	Options
	broker     *target.Broker
	partitions []partition
	journal    *journal
	commits    *commits
	kills      *target.Kills
	report     Report
	ready      []time.Duration
	failed     chan error // the first error of any writer or committer
}

// Run starts a broker, kills it again and again under load, and returns the
// first broken promise as an error.
func Run(ctx context.Context, o Options) (Report, error) {
	began := time.Now()
	b, err := target.Start(ctx, o.Target)
	if err != nil {
		return Report{}, err
	}
	defer b.Close()
	r := &run{
		Options: o, broker: b, journal: newJournal(), commits: newCommits(),
		kills:  &target.Kills{Broker: b, Random: rand.New(rand.NewPCG(o.Seed, 0)), WhileDown: o.WhileDown},
		failed: make(chan error, writers+2),
	}
	if err := r.createTopics(ctx); err != nil {
		return Report{}, err
	}
	err = r.underLoad(ctx, r.cycles)
	if err == nil {
		err = r.readAgain(ctx)
	}
	if err != nil {
		err = fmt.Errorf("seed %d, cycle %d: %w\nthe broker's last words:\n%s", o.Seed, r.kills.Done, err, b.LogTail())
	}
	r.finish(began)
	return r.report, err
}

func (r *run) createTopics(ctx context.Context) error {
	conn, err := probe.Dial(ctx, r.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for topic, n := range layout {
		if err := conn.CreateTopic(topic, n); err != nil {
			return err
		}
		for i := range int32(n) {
			r.partitions = append(r.partitions, partition{topic, i})
		}
	}
	slices.SortFunc(r.partitions, func(a, b partition) int { return strings.Compare(a.String(), b.String()) })
	return nil
}

// underLoad runs do while writers and committers work, and waits for them.
func (r *run) underLoad(ctx context.Context, do func(context.Context) error) error {
	load, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	work := func(f func() error) {
		workers.Go(func() {
			if err := f(); err != nil {
				r.failed <- err
			}
		})
	}
	for w := range int32(writers) {
		work(func() error { return write(load, r.broker.Addr, w, r.partitions, r.journal) })
	}
	work(func() error { return countUp(load, r.broker.Addr, r.partitions, r.commits) })
	work(func() error {
		var topics []string
		for topic := range layout {
			topics = append(topics, topic)
		}
		return readAndCommit(load, r.broker.Addr, topics, r.commits)
	})
	err := do(ctx)
	stop()
	workers.Wait()
	return err
}

func (r *run) cycles(ctx context.Context) error {
	for r.kills.Done < r.Cycles && (r.Until.IsZero() || time.Now().Before(r.Until)) {
		if err := r.awaitAcks(ctx); err != nil {
			return err
		}
		if err := r.cycle(ctx); err != nil {
			return err
		}
		if r.Log != nil && r.kills.Done%20 == 0 {
			fmt.Fprintf(r.Log, "%d kills, %d records acknowledged, %d commits\n",
				r.kills.Done, r.journal.acked(), r.commits.acks())
		}
	}
	return r.awaitGroups(ctx)
}

// awaitGroups gives the groups their turn that come back slowly: on a busy
// machine their members may be killed again and again before they commit.
func (r *run) awaitGroups(ctx context.Context) error {
	for _, group := range []string{memberGroup, counterGroup} {
		err := r.kills.Await(ctx, progress, r.failed, func() bool { return r.commits.of(group) >= int64(r.kills.Done) })
		if err != nil {
			return fmt.Errorf("group %s with %d commits: %w", group, r.commits.of(group), err)
		}
	}
	return nil
}

// awaitAcks lets the load run until enough was acknowledged.
func (r *run) awaitAcks(ctx context.Context) error {
	acked, commits := r.journal.acked(), r.commits.acks()
	err := r.kills.Await(ctx, progress, r.failed, func() bool {
		return r.journal.acked() >= acked+acksPerCycle && r.commits.acks() > commits
	})
	if errors.Is(err, target.ErrStuck) {
		return fmt.Errorf("%w: %d of %d acknowledgements and %d commits", err, r.journal.acked()-acked, acksPerCycle, r.commits.acks()-commits)
	}
	return err
}

// cycle kills the broker, starts it again and compares its log and its
// committed offsets with everything that was promised before.
func (r *run) cycle(ctx context.Context) error {
	if err := r.kills.Next(ctx); err != nil {
		return err
	}
	acks, promised := r.journal.takePending(), r.commits.snapshot()
	r.ready = append(r.ready, r.broker.StartTook)
	conn, err := probe.Dial(ctx, r.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.readNew(conn); err != nil {
		return err
	}
	return errors.Join(r.journal.kept(acks), r.commits.check(conn, promised))
}

// readNew reads what is in the log beyond what the checker has already seen.
func (r *run) readNew(conn *probe.Conn) error {
	return r.eachRecord(conn, func(p partition) int64 { return int64(len(r.journal.found[p])) }, r.journal.stored)
}

func (r *run) eachRecord(conn *probe.Conn, from func(partition) int64, visit func(partition, int64, []byte) error) error {
	for _, p := range r.partitions {
		if err := r.awaitLeader(conn, p); err != nil {
			return err
		}
		first := from(p)
		err := conn.ReadAll(p.Topic, p.Index, first, func(batch probe.Batch) error {
			records, err := batch.Records()
			if err != nil {
				return err
			}
			for _, record := range records {
				if record.Offset < first {
					continue // the batch begins before the offset asked for
				}
				if err := visit(p, record.Offset, record.Value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitLeader waits until a restarted Kafka knows its partitions again. A
// Millrace that says it is ready must answer at once.
func (r *run) awaitLeader(conn *probe.Conn, p partition) error {
	const notLeader = 6
	for deadline := time.Now().Add(progress); ; time.Sleep(20 * time.Millisecond) {
		_, err := conn.Offset(p.Topic, p.Index, probe.Latest)
		var refused *probe.Error
		again := errors.As(err, &refused) && refused.Code == notLeader && r.broker.Kind == target.Kafka
		if !again || time.Now().After(deadline) {
			return err
		}
	}
}

// readAgain reads the whole log once more at the end: every record that was
// ever seen is still where it was, and the last acknowledgements are kept.
func (r *run) readAgain(ctx context.Context) error {
	conn, err := probe.Dial(ctx, r.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	acks := r.journal.takePending()
	if err := r.readNew(conn); err != nil {
		return err
	}
	if err := r.journal.kept(acks); err != nil {
		return err
	}
	start := func(partition) int64 { return 0 }
	return r.eachRecord(conn, start, r.journal.unchanged)
}

func (r *run) finish(began time.Time) {
	r.report.Cycles, r.report.KilledEarly = r.kills.Done, r.kills.Early
	r.report.Acked, r.report.Commits = r.journal.acked(), r.commits.acks()
	r.report.Polls, r.report.ByGroup = r.commits.polls, r.commits.byGroup
	r.report.Repeated = r.journal.repeat
	for _, found := range r.journal.found {
		r.report.Stored += int64(len(found))
	}
	if len(r.ready) > 0 {
		slices.Sort(r.ready)
		r.report.MedianReady, r.report.SlowestReady = r.ready[len(r.ready)/2], r.ready[len(r.ready)-1]
	}
	r.report.Took = time.Since(began)
}
