package txntest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"millrace/compat/history"
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
	// Libraries are the client libraries, one writer each.
	Libraries []Library
	// WhileDown is called between a kill and the restart: a test plants here
	// the damage that the checker has to find.
	WhileDown func(cycle int, b *target.Broker) error
}

// Report says what a run did. A run that did little proves little: see Floor.
type Report struct {
	Cycles, KilledEarly                                        int
	Committed, Unknown, Aborted, Delayed, Zombies, Late, Lives int64
	Acknowledged                                               int64
	Visible, Stored, PolledCommitted, PolledAll, Observed      int
	ByLibrary                                                  map[string]int64 // committed
	Faults                                                     []history.Fault
	Took                                                       time.Duration
}

func (r Report) String() string {
	return fmt.Sprintf("%d kills (%d of them during recovery), %d transactions committed (%v), %d unknown, %d aborted "+
		"(%d zombies), %d left open for a while, %d times late requests, %d producers, %d records acknowledged, %d stored, %d visible, "+
		"%d and %d read meanwhile, %d offsets observed, %s in all",
		r.Cycles, r.KilledEarly, r.Committed, r.ByLibrary, r.Unknown, r.Aborted, r.Zombies, r.Delayed, r.Late, r.Lives, r.Acknowledged,
		r.Stored, r.Visible, r.PolledAll, r.PolledCommitted, r.Observed, r.Took.Round(time.Second))
}

// Floor is an error when the run was too quiet to count.
func (r Report) Floor() error {
	cycles := int64(r.Cycles)
	if cycles == 0 || r.Committed < 10*cycles || r.Aborted < cycles || r.Zombies == 0 || r.Delayed == 0 ||
		r.Observed < r.Cycles || cycles >= 50 && r.Unknown == 0 {
		return fmt.Errorf("INVALID: too little happened: %s", r)
	}
	for library, committed := range r.ByLibrary {
		if committed < ofEachLibrary(r.Cycles) {
			return fmt.Errorf("INVALID: %s committed %d transactions in %d cycles", library, committed, cycles)
		}
	}
	return nil
}

// ofEachLibrary is how many transactions each library must commit in a run.
func ofEachLibrary(cycles int) int64 { return int64(max(1, cycles/10)) }

// layout is the topics of the test: one that spreads, and one with a single log.
var layout = map[string]int{"txn-wide": 4, "txn-narrow": 1}

// commitsPerCycle is how many transactions must be committed before the next kill.
const commitsPerCycle = 20

// limits are what depends on how long the broker takes to come back.
type limits struct{ transaction, progress time.Duration }

var limitsOf = map[target.Kind]limits{
	target.Millrace: {2 * time.Second, 90 * time.Second},
	target.Kafka:    {12 * time.Second, 90 * time.Second},
}

type run struct {
	Options
	limits
	broker     *target.Broker
	partitions []history.Partition
	topics     []string
	journal    *journal
	kills      *target.Kills
	counts     counts
	writers    []*writer
	readers    []*reader
	failed     chan error
	report     Report
}

// Run kills a broker again and again under transactions, comes to rest, and
// returns the broken promises as an error; the report holds all of them.
func Run(ctx context.Context, o Options) (Report, error) {
	began := time.Now()
	b, err := target.Start(ctx, o.Target)
	if err != nil {
		return Report{}, err
	}
	defer b.Close()
	r := &run{Options: o, limits: limitsOf[b.Kind], broker: b, journal: &journal{},
		kills: &target.Kills{Broker: b, Random: rand.New(rand.NewPCG(o.Seed, 0)), WhileDown: o.WhileDown}, failed: make(chan error, 8)}
	if err := r.prepare(ctx); err != nil {
		return Report{}, err
	}
	h, err := r.underLoad(ctx)
	if err == nil {
		r.report.Faults = history.Check(h)
		err = errors.Join(verdict(r.report.Faults), r.counts.wrong())
	}
	if err != nil {
		err = fmt.Errorf("seed %d, cycle %d: %w\nthe broker's last words:\n%s", o.Seed, r.kills.Done, err, b.LogTail())
	}
	r.count(began)
	return r.report, err
}

func verdict(faults []history.Fault) error {
	var all []error
	for _, f := range faults[:min(20, len(faults))] {
		all = append(all, errors.New(f.String()))
	}
	if len(faults) > len(all) {
		all = append(all, fmt.Errorf("and %d more", len(faults)-len(all)))
	}
	return errors.Join(all...)
}

func (r *run) prepare(ctx context.Context) error {
	conn, err := probe.Dial(ctx, r.broker.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, topic := range []string{"txn-wide", "txn-narrow"} {
		if err := conn.CreateTopic(topic, layout[topic]); err != nil {
			return err
		}
		r.topics = append(r.topics, topic)
		for i := range layout[topic] {
			r.partitions = append(r.partitions, history.Partition{Topic: topic, Index: int32(i)})
		}
	}
	for n, library := range r.Libraries {
		r.writers = append(r.writers, &writer{
			number: n, library: library, addr: r.broker.Addr, timeout: r.transaction, partitions: r.partitions,
			journal: r.journal, random: rand.New(rand.NewPCG(r.Seed, uint64(n+1))), counts: &r.counts,
		})
	}
	r.readers = []*reader{newReader(r.journal, true), newReader(r.journal, false)}
	return nil
}

func (r *run) groups() []string {
	var all []string
	for _, w := range r.writers {
		all = append(all, w.group())
	}
	return all
}

// underLoad runs the cycles while everybody works, lets the writers end first,
// and returns the history when the readers have caught up.
func (r *run) underLoad(ctx context.Context) (*history.History, error) {
	reading, stopReading := context.WithCancel(ctx)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stopReading()
	for _, reader := range r.readers {
		followers.Go(func() { r.note(reader.run(reading, r.broker.Addr, r.topics)) })
	}
	followers.Go(func() { r.note(observe(reading, r.broker.Addr, r.groups(), r.partitions[0], r.journal)) })
	if err := r.write(ctx); err != nil {
		return nil, err
	}
	h, err := r.rest(ctx)
	if err != nil {
		return nil, err
	}
	r.countRecords(h)
	if err := r.awaitReaders(h); err != nil {
		return nil, err
	}
	stopReading()
	followers.Wait()
	for _, reader := range r.readers {
		h.Readers = append(h.Readers, reader.seen)
	}
	h.Txns, h.Offsets = r.journal.txns, r.journal.offsets
	return h, nil
}

func (r *run) note(err error) {
	if err != nil {
		r.failed <- err
	}
}

func (r *run) write(ctx context.Context) error {
	writing, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for _, w := range r.writers {
		writers.Go(func() { w.run(writing) })
	}
	err := r.cycles(ctx)
	stop()
	writers.Wait()
	return err
}

func (r *run) cycles(ctx context.Context) error {
	for r.kills.Done < r.Cycles && (r.Until.IsZero() || time.Now().Before(r.Until)) {
		if err := r.awaitCommits(ctx); err != nil {
			return err
		}
		if err := r.kills.Next(ctx); err != nil {
			return err
		}
		if r.Log != nil && r.kills.Done%20 == 0 {
			fmt.Fprintf(r.Log, "%d kills, %d transactions committed, %d unknown, %d aborted\n",
				r.kills.Done, r.counts.committed.Load(), r.counts.unknown.Load(), r.counts.aborted.Load())
		}
	}
	if err := r.awaitCommits(ctx); err != nil {
		return err
	}
	return r.awaitLibraries(ctx)
}

// awaitLibraries gives those libraries their turn that start slowly: on a busy
// machine they may be killed again and again before their first commit.
func (r *run) awaitLibraries(ctx context.Context) error {
	for _, w := range r.writers {
		err := r.kills.Await(ctx, r.progress, r.failed, func() bool { return w.done.Load() >= ofEachLibrary(r.kills.Done) })
		if err != nil {
			return fmt.Errorf("%s with %d transactions committed: %w", w.library.Name, w.done.Load(), err)
		}
	}
	return nil
}

// awaitCommits lets the load run until enough was committed.
func (r *run) awaitCommits(ctx context.Context) error {
	committed, observed := r.journal.progress()
	enough, seen := committed+commitsPerCycle, observed+1
	err := r.kills.Await(ctx, r.progress, r.failed, func() bool {
		committed, observed = r.journal.progress()
		return committed >= enough && observed >= seen
	})
	if errors.Is(err, target.ErrStuck) {
		return fmt.Errorf("%w: %d of %d transactions committed and %d offsets observed",
			err, committed-enough+commitsPerCycle, commitsPerCycle, observed-seen+1)
	}
	return err
}

// rest decides every transaction that a dead producer has left, and reads
// everything, as committed and as it lies there.
func (r *run) rest(ctx context.Context) (*history.History, error) {
	for _, w := range r.writers {
		call, cancel := context.WithTimeout(ctx, r.progress)
		for !w.open(call) {
			if call.Err() != nil {
				cancel()
				return nil, fmt.Errorf("STUCK: %s gets no producer for %s within %s", w.library.Name, w.transactionalID(), r.progress)
			}
		}
		cancel()
		w.close()
	}
	conn, err := probe.Dial(ctx, r.broker.Addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	h := &history.History{All: map[history.Partition][]history.Seen{}, Committed: map[history.Partition][]history.Seen{}}
	for _, p := range r.partitions {
		if err := conn.AwaitStable(p.Topic, p.Index, r.progress); err != nil {
			return nil, err
		}
		if h.All[p], err = readAll(p, conn.ReadAll); err != nil {
			return nil, err
		}
		if h.Committed[p], err = readAll(p, conn.ReadCommitted); err != nil {
			return nil, err
		}
	}
	h.Final, err = r.finalOffsets(ctx)
	return h, err
}

// readAll returns the records of one partition, without markers.
func readAll(p history.Partition, read func(string, int32, int64, func(probe.Batch) error) error) ([]history.Seen, error) {
	var all []history.Seen
	return all, read(p.Topic, p.Index, 0, func(b probe.Batch) error {
		if b.Control() {
			_, err := b.Marker()
			return err
		}
		records, err := b.Records()
		if err != nil {
			return err
		}
		for _, record := range records {
			id, sentTo, err := decode(record.Value)
			if err != nil || sentTo != p {
				return fmt.Errorf("%s at %d holds %q: %w", p, record.Offset, record.Value, err)
			}
			all = append(all, history.Seen{Offset: record.Offset, ID: id})
		}
		return nil
	})
}

func (r *run) finalOffsets(ctx context.Context) ([]history.Observed, error) {
	client, err := newObserver(r.broker.Addr)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var all []history.Observed
	for _, group := range r.groups() {
		for deadline := time.Now().Add(r.progress); ; time.Sleep(10 * time.Millisecond) {
			o, ok := stableOffset(ctx, client, group, r.partitions[0], r.journal)
			if ok {
				all = append(all, o)
				break
			}
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("STUCK: no stable offset of group %s within %s", group, r.progress)
			}
		}
	}
	return all, nil
}

// awaitReaders waits until the running readers were given everything.
func (r *run) awaitReaders(h *history.History) error {
	deadline := time.Now().Add(r.progress)
	for _, reader := range r.readers {
		final := h.All
		if reader.seen.Committed {
			final = h.Committed
		}
		for !reader.reached(final) {
			select {
			case err := <-r.failed:
				return err
			case <-time.After(5 * time.Millisecond):
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("STUCK: %s has not got everything within %s", reader.seen.Name, r.progress)
			}
		}
	}
	return nil
}

func (r *run) countRecords(h *history.History) {
	for _, seen := range h.All {
		r.report.Stored += len(seen)
	}
	for _, seen := range h.Committed {
		r.report.Visible += len(seen)
	}
}

func (r *run) count(began time.Time) {
	r.report.Cycles, r.report.KilledEarly = r.kills.Done, r.kills.Early
	c := &r.counts
	r.report.Committed, r.report.Unknown, r.report.Aborted = c.committed.Load(), c.unknown.Load(), c.aborted.Load()
	r.report.Delayed, r.report.Zombies, r.report.Lives = c.delayed.Load(), c.zombies.Load(), c.lives.Load()
	r.report.Acknowledged, r.report.Late = c.acknowledged.Load(), c.late.Load()
	r.report.ByLibrary = map[string]int64{}
	for _, w := range r.writers {
		r.report.ByLibrary[w.library.Name] = w.done.Load()
	}
	r.report.PolledCommitted, r.report.PolledAll = len(r.readers[0].seen.Polls), len(r.readers[1].seen.Polls)
	r.report.Observed = len(r.journal.offsets)
	r.report.Took = time.Since(began)
}
