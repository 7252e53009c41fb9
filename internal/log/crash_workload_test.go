package log_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// world runs one workload, drawn from a seed, on a crashable disk, and keeps the
// slow model beside it. It runs in a synctest bubble, one step at a time, so the
// same seed gives the same operations on the disk.
type world struct {
	seed    uint64
	rng     *rand.Rand
	kinds   []stepKind
	plant   func(*log.Options) // planted bugs
	tune    func(*log.Config)  // what every topic must have
	faulty  bool               // errors of the disk are expected
	refused int                // appends that may be tried again

	disk    *crashfs.FS
	store   *log.Store
	server  log.Durability
	nowMs   int64 // the wall clock that the store sees
	builder *batch.Builder
	steps   []string // what was done, for the report of a failure
	made    byte     // topics and producers: no id is used twice

	mu        sync.Mutex // what hooks of the disk use too
	logs      map[record.TopicPartition]*log.Log
	model     model
	version   int // of the model
	producers [3]*idempotent
	txns      [4]*txnProducer
	unsettled bool                           // the power was cut, and how much was lost is not in the model yet
	failed    map[record.TopicPartition]bool // a sync or write failed: final until a restart
}

// idempotent is a producer that writes to one partition.
type idempotent struct {
	id   int64
	in   *partition
	next int32 // sequence
}

func newWorld(seed uint64) *world {
	w := &world{
		seed: seed, kinds: stepKinds, rng: rand.New(rand.NewPCG(seed, 1)),
		disk: crashfs.New(), nowMs: 1_800_000_000_000, builder: batch.NewBuilder(batch.BuilderOptions{}),
		logs: map[record.TopicPartition]*log.Log{}, model: model{},
		failed: map[record.TopicPartition]bool{},
	}
	if w.rng.IntN(5) == 0 {
		w.server = log.OS
	}
	if seed >= txnSeeds {
		w.kinds = txnKinds
	}
	return w
}

// options are the same for the store of the workload and for those that look at images.
func (w *world) options(m model, nowMs int64) log.Options {
	rng := rand.New(rand.NewPCG(w.seed, 2))
	o := log.Options{
		Durability:         w.server,
		CheckpointBytes:    pick(rng, int64(1), 700, 64<<20),
		MaxOpenFiles:       pick(rng, 3, 1000),
		SyncParallel:       1,
		OpenParallel:       1,
		ReserveBytes:       1,
		RetentionInterval:  30 * time.Second,
		ProducerExpiration: 24 * time.Hour,
		ConfigOf:           m.configOf,
		Now:                func() time.Time { return time.UnixMilli(nowMs) },
	}
	if w.plant != nil {
		w.plant(&o)
	}
	return o
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// config is what a topic of the workload may choose.
func (w *world) config() log.Config {
	c := log.DefaultConfig()
	c.SegmentBytes = pick(w.rng, int64(300), 900, 3000, 1<<20)
	c.IndexIntervalBytes = pick(w.rng, int32(1), 400, 4096)
	c.TimestampAfterMaxMs = 1 << 40
	switch w.rng.IntN(8) {
	case 0:
		c.LogAppendTime = true
	case 1:
		c.FlushMessages = 3
	case 2:
		c.FlushMessages = 1
	case 3:
		c.RetentionBytes = 1000
	case 4:
		c.SegmentMs = 5000
	}
	if w.tune != nil {
		w.tune(&c)
	}
	return c
}

func fsynced(server log.Durability, c log.Config) bool {
	return c.FlushMessages == 1 || server == log.Fsync && c.FlushMessages == log.Unset
}

func (w *world) update(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
	w.version++
}

// observe takes into the model what a reader could see by now. The lock is held.
func (w *world) observe() {
	for tp, l := range w.logs {
		p := w.model[tp]
		if p == nil {
			continue
		}
		before := *p
		if fsynced(w.server, p.cfg) {
			p.mustHave = max(p.mustHave, l.HighWatermark())
			p.stableSeen = max(p.stableSeen, l.LastStableOffset())
		}
		p.startMin = max(p.startMin, l.StartOffset())
		if p.cfg.RetentionBytes >= 0 {
			p.startMax = p.next
		}
		if p.mustHave != before.mustHave || p.stableSeen != before.stableSeen || p.startMin != before.startMin || p.startMax != before.startMax {
			w.version++
		}
	}
}

// open starts the store on the disk as it is.
func (w *world) open() error {
	o := w.options(nil, 0)
	o.ConfigOf = func(tp record.TopicPartition) log.Config {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.model.configOf(tp)
	}
	o.Now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.UnixMilli(w.nowMs)
	}
	store, err := log.Open(w.disk, o)
	if err != nil {
		return err
	}
	w.store = store
	w.update(func() {
		clear(w.logs)
		clear(w.failed)
		for _, l := range store.Logs() {
			w.logs[l.TP()] = l
		}
	})
	return nil
}

// step does one thing, and waits until the store has done all that follows.
func (w *world) step() error {
	total := 0
	for _, s := range w.kinds {
		total += s.weight
	}
	at := w.rng.IntN(total)
	for _, s := range w.kinds {
		if at -= s.weight; at < 0 {
			w.say("%s", s.name)
			err := s.do(w)
			synctest.Wait()
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			return nil
		}
	}
	return nil
}

func (w *world) say(format string, args ...any) {
	w.steps = append(w.steps, fmt.Sprintf(format, args...))
}

type stepKind struct {
	name   string
	weight int
	do     func(*world) error
}

var stepKinds = []stepKind{
	{"append and wait", 26, func(w *world) error { return w.appendOne(true) }},
	{"append", 12, func(w *world) error { return w.appendOne(false) }},
	{"append to many and wait", 7, (*world).appendMany},
	{"append idempotently", 14, (*world).appendIdempotent},
	{"repeat a batch", 5, (*world).repeat},
	{"delete records", 6, (*world).deleteRecords},
	{"short sleep", 5, func(*world) error { time.Sleep(150 * time.Millisecond); return nil }},
	{"long sleep", 4, func(*world) error { time.Sleep(6 * time.Second); return nil }},
	{"retention", 3, func(*world) error { time.Sleep(31 * time.Second); return nil }},
	{"create", 4, (*world).create},
	{"delete", 3, (*world).delete},
	{"clock", 2, (*world).moveClock},
	{"clean restart", 2, func(w *world) error { return w.restart(w.closeAndKeep) }},
	{"kill and restart", 2, func(w *world) error { return w.restart(w.kill) }},
	{"power cut and restart", 2, func(w *world) error { return w.restart(w.cutPower) }},
}

// some is a live partition by chance; nil when there is none.
func (w *world) some() (*partition, *log.Log) {
	tps := make([]record.TopicPartition, 0, len(w.logs))
	for tp := range w.logs {
		if w.model[tp] != nil {
			tps = append(tps, tp)
		}
	}
	if len(tps) == 0 {
		return nil, nil
	}
	slices.SortFunc(tps, compareTPs)
	tp := pick(w.rng, tps...)
	return w.model[tp], w.logs[tp]
}

func compareTPs(a, b record.TopicPartition) int { return strings.Compare(a.String(), b.String()) }

// build makes a batch of one to four records. Most are small; some cross blocks.
func build(rng *rand.Rand, builder *batch.Builder, nowMs int64, o batch.BuilderOptions) ([]byte, batch.Header, error) {
	builder.Reset(o)
	for range 1 + rng.IntN(4) {
		value := make([]byte, pick(rng, 0, 10, 60, 300, 900))
		if rng.IntN(20) == 0 {
			value = make([]byte, 4500)
		}
		for i := range value {
			value[i] = byte(rng.IntN(250) + 1)
		}
		builder.Append(record.Timestamp(nowMs-rng.Int64N(1000)), nil, value, nil)
	}
	built, err := builder.Build()
	if err != nil {
		return nil, batch.Header{}, err
	}
	h, err := batch.Validate(built)
	return slices.Clone(built), h, err
}

func (w *world) appendOne(wait bool) error {
	p, l := w.some()
	if p == nil {
		return nil
	}
	a, _, err := w.send(p, l, batch.BuilderOptions{ProducerID: batch.NoProducerID}, wait)
	if err != nil || !wait {
		return err
	}
	return w.wait(p, a)
}

// send appends one batch. A zero Appended without an error means that the disk
// failed as it was expected to.
func (w *world) send(p *partition, l *log.Log, o batch.BuilderOptions, sync bool) (log.Appended, *sent, error) {
	b, h, err := build(w.rng, w.builder, w.nowMs, o)
	if err != nil {
		return log.Appended{}, nil, err
	}
	h.BaseOffset = p.next
	s := &sent{Header: h, bytes: b, appendTimeMs: -1}
	w.say("  %s: batch at %d to %d, %d bytes, sync %v, producer %d sequence %d", p.tp, s.BaseOffset, s.LastOffset(), len(b), sync, h.ProducerID, h.BaseSequence)
	refused := w.failed[p.tp]
	if !refused {
		w.update(func() { p.add(s) })
	}
	a, err := l.Append(slices.Clone(b), log.AppendOptions{Sync: sync, Txn: o.Transactional})
	switch {
	case err == nil && refused:
		return a, nil, fmt.Errorf("%s took an append after it had failed", p.tp)
	case err == nil && (a.Base != s.BaseOffset || a.Last != s.LastOffset() || a.Duplicate):
		return a, nil, fmt.Errorf("%s: appended at %d to %d (duplicate %v), expected %d to %d", p.tp, a.Base, a.Last, a.Duplicate, s.BaseOffset, s.LastOffset())
	case err == nil:
		w.update(func() { p.pending, s.appendTimeMs = false, a.AppendTimeMs })
		return a, s, nil
	case !w.faulty:
		return a, nil, err
	}
	w.say("  failed: %v", err)
	synctest.Wait() // a sync that was under way may still count
	w.update(func() { w.notAppended(p, err) })
	return log.Appended{}, nil, nil
}

// notAppended: after ErrNoSpace the batch is certainly not there. After any other
// error it may be on the disk, and the log must not take another one.
func (w *world) notAppended(p *partition, err error) {
	switch {
	case w.failed[p.tp]:
	case errors.Is(err, log.ErrFailed):
		w.observe()
		w.failed[p.tp] = true
	default: // ErrNoSpace, or the segment file could not be opened: nothing was written
		w.refused++
		p.drop()
	}
}

// wait is the acknowledgement.
func (w *world) wait(p *partition, a log.Appended) error {
	if a == (log.Appended{}) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // of the bubble: any wait ends long before
	defer cancel()
	err := a.Wait(ctx)
	switch {
	case err == nil && w.failed[p.tp] && fsynced(w.server, p.cfg) && a.Last >= p.mustHave:
		return fmt.Errorf("%s acknowledged %d after it had failed", p.tp, a.Last)
	case err == nil && fsynced(w.server, p.cfg):
		w.update(func() { p.mustHave = max(p.mustHave, a.Last+1) })
	case err != nil && (!w.faulty || errors.Is(err, context.DeadlineExceeded)):
		return err
	case err != nil:
		w.say("  wait failed: %v", err)
		w.update(func() { w.failed[p.tp] = true })
	}
	return nil
}

func (w *world) appendMany() error {
	var all []log.Appended
	var of []*partition
	for range 2 + w.rng.IntN(12) {
		p, l := w.some()
		if p == nil {
			return nil
		}
		a, _, err := w.send(p, l, batch.BuilderOptions{ProducerID: batch.NoProducerID}, w.rng.IntN(4) > 0)
		if err != nil {
			return err
		}
		all, of = append(all, a), append(of, p)
	}
	for i, a := range all {
		if err := w.wait(of[i], a); err != nil {
			return err
		}
	}
	return nil
}
