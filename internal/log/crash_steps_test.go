package log_test

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// appendIdempotent sends the next batch of a producer. Each writes to one
// partition; a new one takes its place when that is gone.
func (w *world) appendIdempotent() error {
	slot := w.rng.IntN(len(w.producers))
	q := w.producers[slot]
	if q == nil || !w.writable(q.in) {
		p, _ := w.some()
		if p == nil {
			return nil
		}
		w.made++
		q = &idempotent{id: int64(w.made), in: p}
		w.producers[slot] = q
	}
	sync := w.rng.IntN(2) == 0
	a, s, err := w.send(q.in, w.logs[q.in.tp], batch.BuilderOptions{ProducerID: q.id, BaseSequence: q.next}, sync)
	if err != nil || s == nil {
		return err
	}
	q.next += s.Count
	if !sync {
		return nil
	}
	return w.wait(q.in, a)
}

// writable: the partition is neither deleted nor in doubt.
func (w *world) writable(p *partition) bool { return w.model[p.tp] == p && w.logs[p.tp] != nil }

// repeat sends one of a producer's newest five batches again, as a client does
// whose answer got lost: it must get the old offsets, and nothing is written.
func (w *world) repeat() error {
	q := w.producers[w.rng.IntN(len(w.producers))]
	if q == nil || !w.writable(q.in) || w.failed[q.in.tp] {
		return nil
	}
	l := w.logs[q.in.tp]
	kept := keptOf(q.in.batches, q.id, l.StartOffset())
	if len(kept) == 0 {
		return nil
	}
	s := pick(w.rng, kept...)
	w.say("  %s: producer %d repeats sequence %d", q.in.tp, q.id, s.BaseSequence)
	a, err := l.Append(slices.Clone(s.bytes), log.AppendOptions{Sync: true})
	if err != nil {
		return w.expected(err)
	}
	if !a.Duplicate || a.Base != s.BaseOffset || a.Last != s.LastOffset() {
		return fmt.Errorf("%s: sequence %d of producer %d came twice and got %d to %d (duplicate %v), at first it had got %d to %d",
			q.in.tp, s.BaseSequence, q.id, a.Base, a.Last, a.Duplicate, s.BaseOffset, s.LastOffset())
	}
	return w.wait(q.in, a)
}

// keptOf is the newest five batches of a producer's newest epoch that start at or
// above the log start.
func keptOf(batches []*sent, id int64, start record.Offset) (kept []*sent) {
	var newest *sent
	for _, s := range slices.Backward(batches) {
		if s.ProducerID != id {
			continue
		}
		if newest == nil {
			newest = s
		}
		if s.ProducerEpoch == newest.ProducerEpoch && s.marker == nil && s.BaseOffset >= start && len(kept) < 5 {
			kept = append(kept, s)
		}
	}
	return kept
}

// expected lets an error pass when the disk makes errors.
func (w *world) expected(err error) error {
	if !w.faulty {
		return err
	}
	w.say("  failed: %v", err)
	return nil
}

func (w *world) deleteRecords() error {
	p, l := w.some()
	if p == nil || w.failed[p.tp] {
		return nil
	}
	before := l.StartOffset() + record.Offset(w.rng.Int64N(int64(l.HighWatermark()-l.StartOffset())+1))
	if w.rng.IntN(4) == 0 {
		before = l.HighWatermark()
	}
	w.say("  %s: delete records before %d", p.tp, before)
	w.update(func() { p.startMax = max(p.startMax, before) })
	start, err := l.DeleteRecords(before)
	if err != nil {
		return w.expected(err)
	}
	w.update(func() { p.startMin = max(p.startMin, start) })
	if start < before {
		return fmt.Errorf("%s: DeleteRecords(%d) left the log start at %d", p.tp, before, start)
	}
	return nil
}

// create makes one to three partitions of a topic, which may have existed before.
func (w *world) create() error {
	topic := record.Topic(pick(w.rng, "a", "b", "c"))
	w.made++
	id, cfg := [16]byte{w.made, 1}, w.config()
	var specs []log.CreateSpec
	for i := range 1 + w.rng.IntN(3) {
		tp := record.TopicPartition{Topic: topic, Partition: record.Partition(i)}
		if w.model[tp] != nil {
			return nil
		}
		specs = append(specs, log.CreateSpec{TP: tp, TopicID: id, Config: cfg})
	}
	w.say("  %s: %d partitions, %+v", topic, len(specs), cfg)
	w.update(func() {
		for _, s := range specs {
			w.model[s.TP] = &partition{tp: s.TP, id: s.TopicID, cfg: s.Config, mayBeGone: true, mayBeThere: true}
		}
	})
	if err := w.store.Create(specs); err != nil {
		if _, there := w.store.Log(specs[0].TP); there {
			return fmt.Errorf("%s is there although it could not be created: %w", specs[0].TP, err)
		}
		return w.expected(err)
	}
	w.update(func() {
		for _, s := range specs {
			w.model[s.TP].mayBeGone = false
			delete(w.failed, s.TP) // that was the one before
			w.logs[s.TP], _ = w.store.Log(s.TP)
		}
	})
	return nil
}

// delete removes all partitions of a topic.
func (w *world) delete() error {
	p, _ := w.some()
	if p == nil {
		return nil
	}
	var tps []record.TopicPartition
	w.update(func() {
		for tp, other := range w.model {
			if tp.Topic == p.tp.Topic && w.logs[tp] != nil {
				tps = append(tps, tp)
				other.mayBeGone = true
				delete(w.logs, tp)
			}
		}
	})
	slices.SortFunc(tps, compareTPs)
	w.say("  %v", tps)
	if err := w.store.Delete(tps); err != nil {
		return w.expected(err)
	}
	w.update(func() {
		for _, tp := range tps {
			delete(w.model, tp)
		}
	})
	return nil
}

// moveClock lets the wall clock jump, also backwards (R17).
func (w *world) moveClock() error {
	jump := pick(w.rng, -time.Hour, -time.Second, time.Second, time.Hour)
	w.say("  by %v", jump)
	w.update(func() { w.nowMs += jump.Milliseconds() })
	return nil
}

// restart ends the run of the store in one way and starts the next one. What
// comes back must fit the model, which then goes on from there.
func (w *world) restart(stop func() (*crashfs.FS, power, error)) error {
	old := w.store
	before, after := w.disk.Hooks()
	disk, how, err := stop()
	if err != nil {
		return err
	}
	if disk != w.disk {
		w.update(func() { clear(w.logs) }) // what they do from here on is not on the disk that counts
		w.disk.OnOp(nil, nil)
		if err := old.Close(); err != nil && !w.faulty {
			return err
		}
		w.disk = disk
		w.disk.OnOp(before, after)
	}
	w.update(func() { w.unsettled = how == powerCut })
	err = w.open()
	if err != nil && w.faulty {
		w.say("  open failed: %v", err)
		err = w.open() // the fault is over
	}
	if err != nil {
		return err
	}
	return w.resume(how)
}

func (w *world) closeAndKeep() (*crashfs.FS, power, error) {
	if err := w.store.Close(); err != nil {
		return w.disk, killed, w.expected(err)
	}
	w.update(func() {
		for _, p := range w.model {
			if !w.failed[p.tp] && !p.pending {
				p.mustHave = p.next // also under OS: a clean stop syncs everything (rule S5)
			}
		}
	})
	return w.disk, killed, nil
}

func (w *world) kill() (*crashfs.FS, power, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observe()
	return w.disk.Clone(), killed, nil
}

func (w *world) cutPower() (*crashfs.FS, power, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observe()
	return w.disk.Crash(pick(w.rng, crashfs.Policies()...), w.rng.Uint64()), powerCut, nil
}

// resume takes what the store has recovered as the truth from now on.
func (w *world) resume(how power) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.version++
	w.unsettled = false
	for tp, p := range w.model {
		l := w.logs[tp]
		if w.faulty && l != nil && l.Failed() != nil {
			w.failed[tp] = true
			continue
		}
		if l == nil || l.TopicID() != p.id {
			if !p.mayBeGone {
				return fmt.Errorf("%s is gone", tp)
			}
			if how == powerCut {
				delete(w.model, tp) // else its removal may not be durable
			}
			continue
		}
		p.mayBeGone = false
		if err := w.resumeLog(p, l, how); err != nil {
			return fmt.Errorf("%s: %w", tp, err)
		}
	}
	return nil
}

func (w *world) resumeLog(p *partition, l *log.Log, how power) error {
	if p.cfg.RetentionBytes >= 0 {
		p.startMax = p.next
	}
	f, err := readLog(l)
	if w.faulty && errors.Is(err, syscall.EIO) {
		f, err = readLog(l) // the fault is over
	}
	if err != nil {
		return w.expectedOf(l, err)
	}
	if err := p.check(f, how); err != nil {
		return err
	}
	p.becomes(f, how)
	for slot, q := range w.producers {
		if q != nil && q.in == p && !q.resume() {
			w.producers[slot] = nil
		}
	}
	for slot, q := range w.txns {
		if q != nil && q.in == p && !q.resume() {
			w.txns[slot] = nil
		}
	}
	err = p.checkResumed(l)
	if w.faulty && errors.Is(err, syscall.EIO) {
		err = p.checkResumed(l) // the fault is over
	}
	return err
}

// expectedOf lets a log be unreadable when the disk made errors while it was opened.
func (w *world) expectedOf(l *log.Log, err error) error {
	if w.faulty && errors.Is(l.Failed(), log.ErrFailed) {
		w.failed[l.TP()] = true
		return nil
	}
	return err
}

// resume finds out with which sequence the producer goes on. It is false when
// none of its batches is left: a new producer takes its place.
func (q *idempotent) resume() bool {
	for _, s := range slices.Backward(q.in.batches) {
		if s.ProducerID == q.id && s.BaseOffset >= q.in.startMin {
			q.next = s.BaseSequence + s.Count
			return true
		}
	}
	return false
}
