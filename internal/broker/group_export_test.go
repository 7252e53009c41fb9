package broker

import "context"

// ExpireOffsets does what the keeper does every ten minutes.
func (b *Broker) ExpireOffsets() { b.groups.expireOffsets(context.Background()) }

// OffsetsLog is the size of the group's partition of the offsets topic.
func (b *Broker) OffsetsLog(group string) (partition int, start, next int64) {
	l := b.groups.shardOf(group).log
	return int(l.TP().Partition), int64(l.StartOffset()), int64(l.NextOffset())
}

// GroupMemory is what all groups are believed to hold, in bytes.
func (b *Broker) GroupMemory() int64 { return b.groups.memory.Load() }
