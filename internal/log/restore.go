package log

import (
	"errors"
	"fmt"
	"slices"

	"millrace/internal/batch"
	"millrace/record"
)

// restoreProducers builds the producer state: the newest snapshot at or before
// the end, and the batches behind it.
//
// Each checkpoint leaves a snapshot behind if the state has changed, so a sound
// newest snapshot holds for the recovery point too, and no snapshot at all means
// that there was no producer below it.
func (l *Log) restoreProducers(snapshots []record.Offset, point record.Offset) error {
	if l.store.opts.faults.forgetProducers {
		return nil
	}
	from := point
	for i := len(snapshots) - 1; i >= 0; i-- {
		off := snapshots[i]
		if off > l.NextOffset() { // its records were lost with the tail
			if err := l.store.fsys.Remove(l.snapshotPath(off)); err != nil {
				return err
			}
			continue
		}
		state, err := l.readSnapshot(off)
		if err == nil {
			l.appender.producers = *state
			l.appender.snapshots = slices.Clone(snapshots[:i+1])
			return l.replayProducers(max(from, off))
		}
		if damaged := (*fileError)(nil); !errors.As(err, &damaged) {
			return err
		}
		l.store.opts.Logger.Error("producer snapshot is unreadable: the batches are read instead", "partition", l.tp.String(), "error", err)
		from = 0
	}
	return l.replayProducers(max(from, l.StartOffset()))
}

func (l *Log) snapshotPath(off record.Offset) string {
	return l.dir + "/" + fileName(off, snapshotFile)
}

func (l *Log) readSnapshot(off record.Offset) (*producers, error) {
	path := l.snapshotPath(off)
	b, err := l.store.fsys.ReadFile(path)
	if err != nil {
		return nil, err
	}
	state, err := decodeSnapshot(b)
	if err != nil {
		return nil, &fileError{path, err}
	}
	return state, nil
}

// replayProducers adds the batches from the given offset on.
func (l *Log) replayProducers(from record.Offset) error {
	nowMs := l.store.opts.Now().UnixMilli()
	v := l.view.Load()
	for i := v.at(max(from, v.segments[0].base)); i < len(v.segments) && from < l.NextOffset(); i++ {
		if err := l.replaySegment(v, i, from, nowMs); err != nil {
			return fmt.Errorf("producers of %s: %w", v.segments[i].path(dataFile), err)
		}
	}
	return nil
}

func (l *Log) replaySegment(v *view, i int, from record.Offset, nowMs int64) error {
	seg := v.segments[i]
	f, err := seg.openData()
	if err != nil {
		return err
	}
	defer seg.data.release()
	return l.each(v, i, f, timeEntry{ts: noTimestamp, last: from}, func(h batch.Header, _ int64) (bool, error) {
		if h.ProducerID >= 0 && h.BaseOffset >= from {
			l.appender.producers.appended(h, nowMs)
			from = h.LastOffset() + 1
		}
		return false, nil
	})
}
