package log_test

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/internal/vfs/crashfs"
	"millrace/record"
)

// look opens a damaged directory and holds all answers against what was there.
func (f *rotFixture) look(disk *crashfs.FS, d damageDone, plant func(*log.Options)) error {
	var lines []string
	store, err := log.Open(disk, rotOptions(f.nowMs, &lines, plant))
	if err != nil {
		if d.name == "" || !strings.Contains(err.Error(), path.Base(d.name)) {
			return fmt.Errorf("refused without naming the file: %w", err)
		}
		return nil
	}
	defer store.Close()
	l, there := store.Log(rotTP)
	if !there {
		return fmt.Errorf("the partition is gone")
	}
	if l.Failed() != nil {
		return fmt.Errorf("the partition is out of use: %w", l.Failed())
	}
	found, err := readLog(l)
	if err != nil {
		return err
	}
	a := answer{f: f, d: d, store: store, log: l, found: found, told: len(lines) > 0 || len(store.Report().Partitions) > 0}
	return a.check()
}

// answer is what a store on a damaged directory has to say.
type answer struct {
	f     *rotFixture
	d     damageDone
	store *log.Store
	log   *log.Log
	found found
	told  bool // the operator was told of something
}

func (a *answer) check() error {
	for _, check := range []func() error{a.checkRecords, a.checkBounds, a.checkTimes, a.checkEpochs, a.checkNames, a.checkProducer} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkRecords: what is served is right, and what is not served is named. Only the
// batch that was hit may be missing, or what a cut has taken.
func (a *answer) checkRecords() error {
	batches := a.found.batches
	position := map[string]int64{} // in each segment file
	for _, want := range a.f.want.batches {
		file, from := a.f.placeOf(want, position)
		if want.LastOffset() < a.found.start {
			continue
		}
		if len(batches) > 0 && baseOf(batches[0]) == want.BaseOffset {
			if err := want.same(batches[0], false); err != nil {
				return fmt.Errorf("wrong bytes served at %d: %w", want.BaseOffset, err)
			}
			batches = batches[1:]
			continue
		}
		if !a.hit(file, from, int64(len(want.bytes))) {
			return fmt.Errorf("the batch at %d is not served although it is whole; damage reported: %v, served: %d batches", want.BaseOffset, a.found.damaged, len(a.found.batches))
		}
		if !a.unsynced() && !a.named(want.BaseOffset) {
			return fmt.Errorf("the batch at %d is gone without a word", want.BaseOffset)
		}
	}
	if len(batches) > 0 {
		return fmt.Errorf("a batch at %d is served that was never written", baseOf(batches[0]))
	}
	return nil
}

func baseOf(b []byte) record.Offset {
	h, _ := batch.ParseHeader(b)
	return h.BaseOffset
}

// placeOf is where a batch lies on the undamaged disk.
func (f *rotFixture) placeOf(s *sent, position map[string]int64) (file string, from int64) {
	for _, name := range f.filesOf(".log") {
		var base record.Offset
		_, _ = fmt.Sscanf(strings.TrimLeft(strings.TrimSuffix(path.Base(name), ".log"), "0")+" ", "%d", &base)
		if base <= s.BaseOffset {
			file = name
		}
	}
	from = position[file]
	position[file] += int64(len(s.bytes))
	return file, from
}

// hit tells whether the damage lies in those bytes. A cut above the recovery
// point looks like bytes that were never synced: what lies behind goes too.
func (a *answer) hit(file string, from, n int64) bool {
	if a.unsynced() && file > a.d.name {
		return true
	}
	if a.d.name != file {
		return false
	}
	if a.d.cut {
		return from+n > a.d.at
	}
	return from <= a.d.at/8 && a.d.at/8 < from+n
}

func (a *answer) unsynced() bool {
	above := a.d.name > a.f.pointFile || a.d.name == a.f.pointFile && a.d.at >= a.f.pointAt
	return a.d.cut && a.d.kind == ".log" && !a.f.clean && above
}

func (a *answer) named(off record.Offset) bool {
	for _, d := range a.found.damaged {
		if d.Offset <= off && off < d.Next {
			return true
		}
	}
	return false
}

// checkBounds: no offset is given twice, and nothing deleted comes back unseen.
func (a *answer) checkBounds() error {
	want := a.f.want
	if a.found.next < want.next && !a.unsynced() {
		return fmt.Errorf("the next offset went back from %d to %d", want.next, a.found.next)
	}
	if a.found.next > want.next && !a.told {
		return fmt.Errorf("the next offset went from %d to %d without a word", want.next, a.found.next)
	}
	if a.found.start > want.startMin {
		return fmt.Errorf("the log start went from %d to %d", want.startMin, a.found.start)
	}
	if a.found.start < want.startMin && !a.told {
		return fmt.Errorf("the log start went back from %d to %d without a word", want.startMin, a.found.start)
	}
	return nil
}

// checkTimes compares the search by time with a search through what is served.
func (a *answer) checkTimes() error {
	var it batch.Iterator
	var all []batch.View
	for _, b := range a.found.batches {
		if err := it.Reset(b, nil); err != nil {
			return err
		}
		for it.Next() {
			if r := it.Record(); r.Offset >= a.found.start {
				all = append(all, r)
			}
		}
	}
	for _, ts := range []record.Timestamp{0, record.Timestamp(a.f.nowMs - 930), record.Timestamp(a.f.nowMs - 815), record.Timestamp(a.f.nowMs)} {
		off, _, ok, err := a.log.OffsetForTime(ts)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(r batch.View) bool { return r.Timestamp >= ts })
		if ok != (i >= 0) || ok && off != all[i].Offset {
			return fmt.Errorf("time %d was found at %d (%v)", ts, off, ok)
		}
	}
	return nil
}

func (a *answer) checkEpochs() error {
	for epoch, want := range a.f.epochs {
		got, end := a.log.OffsetForEpoch(int32(epoch))
		last := epoch == len(a.f.epochs)-1
		if (got != int32(epoch) || end != want && !last) && !a.told {
			return fmt.Errorf("epoch %d ends at %d (epoch %d), expected %d, without a word", epoch, end, got, want)
		}
	}
	return nil
}

func (a *answer) checkNames() error {
	if id := a.log.TopicID(); id != a.f.want.id && !a.told {
		return fmt.Errorf("the topic id became %x without a word", id)
	}
	if id := a.store.ClusterID(); id != a.f.clusterID && !a.told {
		return fmt.Errorf("the cluster id became %s without a word", id)
	}
	return nil
}

// checkProducer: a retry of the newest batch that is still served is recognised.
func (a *answer) checkProducer() error {
	for _, s := range slices.Backward(a.f.producer) {
		if !slices.ContainsFunc(a.found.batches, func(b []byte) bool { return baseOf(b) == s.BaseOffset }) {
			return nil // then what the log knows of the producer is open
		}
		again, err := a.log.Append(slices.Clone(s.bytes), log.AppendOptions{})
		if err != nil || !again.Duplicate || again.Base != s.BaseOffset {
			return fmt.Errorf("sequence %d at offset %d came again: offset %d, duplicate %v, %v", s.BaseSequence, s.BaseOffset, again.Base, again.Duplicate, err)
		}
		break
	}
	return nil
}
