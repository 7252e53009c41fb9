package broker

import (
	"context"
	"fmt"

	"millrace/internal/batch"
	"millrace/internal/log"
	"millrace/record"
)

// A shard is rewritten when it has grown since the last time by more than
// rewriteFactor times what was alive then, and by rewriteBytes at least. So the
// work is a fixed share of what was appended (P4), and a start reads at most
// that much, however long the broker has run.
const (
	rewriteFactor = 4
	rewriteBytes  = 8 << 20
)

func (s *shard) rewriteAtBytes() int64 {
	return max(rewriteBytes, rewriteFactor*s.note.liveBytes.Load())
}

// rewriteGrown rewrites the shards that need it.
func (g *groups) rewriteGrown(ctx context.Context) {
	for _, s := range g.allShards() {
		if s.note.grownBytes.Load() <= s.rewriteAtBytes() || s.log.StartOffset() < s.damagedBelow {
			continue // a damaged one is left as it is: see liveGroup.doubtful
		}
		if err := s.rewrite(ctx); err != nil && ctx.Err() == nil {
			// Not again before it has grown by as much: the disk may be full.
			s.note.grownBytes.Store(0)
			g.b.logger.Warn("the offsets topic could not be made smaller", "partition", s.log.TP().String(), "error", err)
		}
	}
}

// rewrite appends everything that is alive in the shard once more, and then
// moves the log start to where that begins. Nothing can be lost: each group is
// written under its lock, so whatever it stores later lies behind; and the old
// records go only when the new ones are durable. A crash in between leaves both.
func (s *shard) rewrite(ctx context.Context) error {
	from := s.log.NextOffset()
	var total int64
	var last log.Appended
	for _, lg := range s.all() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !lg.lockReadable(ctx) {
			continue
		}
		if lg.mu.group.StagedCount() > 0 { // their records must stay where they are until the transaction ends
			lg.unlock()
			return nil
		}
		a, n, err := lg.rewrite()
		lg.unlock()
		if err != nil {
			return fmt.Errorf("rewrite group %q: %w", lg.id, err)
		}
		if n > 0 {
			total, last = total+n, a
		}
	}
	if total > 0 {
		if err := last.Wait(ctx); err != nil {
			return err
		}
	}
	before := s.log.StartOffset()
	start, err := s.log.DeleteRecords(from)
	if err != nil {
		return err
	}
	s.note.liveBytes.Store(total)
	s.note.grownBytes.Store(0)
	s.g.b.logger.Debug("the offsets topic was rewritten", "partition", s.log.TP().String(), "removed_records", int64(start-before), "live_bytes", total)
	return nil
}

// lockReadable is lock, and waits until the group's own record can be read,
// which is when it is durable.
func (lg *liveGroup) lockReadable(ctx context.Context) bool {
	for lg.lock() {
		w := lg.mu.written
		if lg.mu.stored < lg.shard.log.HighWatermark() {
			return true
		}
		lg.mu.Unlock()
		if w.Wait(ctx) != nil {
			return false
		}
	}
	return false
}

// rewrite appends what the group has stored, and returns its size: its own
// record byte for byte, because a rebalance may be under way whose outcome must
// not be stored yet.
func (lg *liveGroup) rewrite() (last log.Appended, size int64, err error) {
	var records []offsetsRecord
	if lg.mu.stored >= 0 {
		own, err := lg.shard.readRecord(lg.mu.stored)
		if err != nil {
			return last, 0, err
		}
		records = append(records, own)
	}
	own := len(records)
	var partitions []record.TopicPartition
	for tp, o := range lg.mu.group.Offsets() {
		partitions = append(partitions, tp)
		records = append(records, offsetRecord(lg.id, tp, o))
	}
	if len(records) == 0 {
		return last, 0, nil
	}
	last, err = lg.append(records)
	if err != nil {
		return last, 0, err
	}
	if own > 0 {
		lg.mu.stored = last.Base
	}
	for i, tp := range partitions {
		o, _ := lg.mu.group.Offset(tp)
		o.Position = last.Base + record.Offset(own+i)
		lg.mu.group.SetOffset(tp, o)
	}
	for _, r := range records {
		size += int64(len(r.key) + len(r.value))
	}
	return last, size, nil
}

// readRecord is the record at that offset, copied.
func (s *shard) readRecord(at record.Offset) (offsetsRecord, error) {
	b, err := s.log.Read(at, batch.HeaderSize, nil)
	if err != nil {
		return offsetsRecord{}, err
	}
	var it batch.Iterator
	if err := it.Reset(b, nil); err != nil {
		return offsetsRecord{}, err
	}
	for it.Next() {
		if r := it.Record(); r.Offset == at {
			return offsetsRecord{key: r.Key, value: r.Value}, nil
		}
	}
	return offsetsRecord{}, fmt.Errorf("no record at offset %d of %s", at, s.log.TP())
}
