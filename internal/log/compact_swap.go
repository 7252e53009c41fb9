package log

import (
	"errors"
	"io/fs"
)

// Suffixes of a segment's files while it takes the place of others, as in Kafka.
//
//  1. All is written to .cleaned and synced; the indexes too. A start removes them.
//  2. The batches become .log.swap. When that name is durable the new segment
//     counts: a start completes what follows, by the .swap file alone.
//  3. The indexes get their names, and the other old segments go.
//  4. When that is durable, .log.swap becomes .log, in the place of the first old one.
//
// Each old segment goes before the name that tells a start about it.
const (
	cleanedSuffix = ".cleaned"
	swapSuffix    = ".swap"
)

// newSegmentWriter makes the files of the segment that will take the group's place.
func (l *Log) newSegmentWriter(g segmentGroup) (*segmentWriter, error) {
	l.names.RLock()
	defer l.names.RUnlock()
	if err := l.stopped(); err != nil {
		return nil, err
	}
	seg := &segment{store: l.store, dir: l.dir, base: g.segments[0].base}
	w := &segmentWriter{log: l, seg: seg, next: seg.base, index: newIndexWriter(seg, l.config.Load().IndexIntervalBytes)}
	w.aborted.seg = seg
	for _, part := range seg.parts() {
		f, err := l.store.handles.acquire(part.handle, seg.path(part.kind)+cleanedSuffix, l.store.fsys.Create)
		if err != nil {
			return nil, errors.Join(err, w.abandonLocked())
		}
		if part.kind == dataFile {
			w.file = f
		}
	}
	return w, nil
}

// segmentPart is one of the files of a segment with its handle.
type segmentPart struct {
	handle *handle
	kind   fileKind
}

func (s *segment) parts() []segmentPart {
	return []segmentPart{{&s.index, indexFile}, {&s.times, timesFile}, {&s.txns, txnFile}, {&s.data, dataFile}}
}

// abandon removes what was written of a segment that is not wanted any more.
func (w *segmentWriter) abandon() error {
	w.log.names.RLock()
	defer w.log.names.RUnlock()
	return w.abandonLocked()
}

func (w *segmentWriter) abandonLocked() error {
	w.seg.retire()
	w.unpin()
	if reason := w.log.ended.Load(); reason != nil && errors.Is(*reason, ErrDeleted) {
		return nil // the directory goes, and another may have its name
	}
	var failed []error
	for _, part := range w.seg.parts() {
		if err := w.log.store.fsys.Remove(w.seg.path(part.kind) + cleanedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// unpin lets the files be closed: from here on they are found by their names.
func (w *segmentWriter) unpin() {
	for _, part := range w.seg.parts() {
		if part.handle.refs.Load() > 0 {
			part.handle.release()
		}
	}
}

// swap puts the new segment in the place of the group's. errOvertaken when they
// are not in the log any more. After another error the log is as it was, or has
// failed: then a start will find it as it was or with the new segment.
func (l *Log) swap(g segmentGroup, w *segmentWriter) error {
	l.reshape.Lock()
	defer l.reshape.Unlock()
	l.names.RLock()
	defer l.names.RUnlock()
	if err := l.stopped(); err != nil {
		return errors.Join(err, w.abandonLocked())
	}
	at, there := l.place(g)
	if !there {
		return errors.Join(errOvertaken, w.abandonLocked())
	}
	data := w.seg.path(dataFile)
	if err := l.store.fsys.Rename(data+cleanedSuffix, data+swapSuffix); err != nil {
		return errors.Join(err, w.abandonLocked())
	}
	if err := l.syncSwap(); err != nil {
		w.seg.retire()
		w.unpin()
		return err // the log has failed: nobody knows which one counts
	}
	l.changeView(func(v view) view {
		segments := append([]*segment{}, v.segments[:at]...)
		segments = append(segments, w.seg)
		v.segments = append(segments, v.segments[at+len(g.segments):]...)
		return v
	})
	for _, seg := range g.segments {
		seg.retire()
	}
	l.hints.forget()
	if err := l.completeSwap(g, w.seg); err != nil {
		return l.fail(err) // the new segment's files stay pinned: their names are not theirs
	}
	w.unpin()
	return nil
}

// place is where the group's segments are in the log. Only the holder of reshape
// takes segments out of the view.
func (l *Log) place(g segmentGroup) (at int, there bool) {
	v := l.view.Load()
	for i, seg := range v.segments {
		if seg != g.segments[0] {
			continue
		}
		for k, other := range g.segments {
			if v.segments[i+k] != other {
				return 0, false
			}
		}
		return i, true
	}
	return 0, false
}

// syncSwap makes the step of a swap durable, or fails the log.
func (l *Log) syncSwap() error {
	if l.store.opts.faults.compaction.skipDirSync {
		return nil
	}
	return l.syncNames()
}

// completeSwap gives the new segment its names and removes the old ones.
func (l *Log) completeSwap(g segmentGroup, seg *segment) error {
	fsys := l.store.fsys
	data := seg.path(dataFile)
	early := l.store.opts.faults.compaction.swapTooEarly
	if early {
		if err := fsys.Rename(data+swapSuffix, data); err != nil {
			return err
		}
	}
	for _, kind := range []fileKind{indexFile, timesFile, txnFile} {
		if err := fsys.Rename(seg.path(kind)+cleanedSuffix, seg.path(kind)); err != nil {
			return err
		}
	}
	if seg.aborted.Load() == 0 { // nor do others have an index without entries
		if err := fsys.Remove(seg.path(txnFile)); err != nil {
			return err
		}
	}
	for _, old := range g.segments[1:] {
		if err := old.removeFiles(); err != nil {
			return err
		}
	}
	if err := l.syncSwap(); err != nil || early {
		return err
	}
	if err := fsys.Rename(data+swapSuffix, data); err != nil {
		return err
	}
	return l.syncSwap()
}
