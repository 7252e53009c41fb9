package broker

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// offsetDelete removes positions of topics that no member reads.
func (g *groups) offsetDelete(_ *conn, req *kmsg.OffsetDeleteRequest) reply {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	w, err := g.deleteOffsets(req, resp)
	return func(context.Context) (response, error) {
		if err == nil {
			err = w.wait(g.b)
		}
		if err != nil {
			resp.ErrorCode = groupCodeOf(err)
			resp.Topics = nil
		}
		return resp, nil
	}
}

func (g *groups) deleteOffsets(req *kmsg.OffsetDeleteRequest, resp *kmsg.OffsetDeleteResponse) (written, error) {
	if req.Group == "" {
		return written{}, errNoGroupID
	}
	lg := g.lockGroup(req.Group)
	if lg == nil {
		return written{}, errNoSuchGroup
	}
	defer lg.unlock()
	if err := lg.mu.group.CheckDeleteOffsets(); err != nil {
		return written{}, err
	}
	var doomed []record.TopicPartition
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetDeleteResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetDeleteResponseTopicPartition()
			rp.Partition = p.Partition
			if rp.ErrorCode = lg.mayDeleteOffset(t.Topic, p.Partition); rp.ErrorCode == 0 {
				doomed = append(doomed, record.TopicPartition{Topic: record.Topic(t.Topic), Partition: record.Partition(p.Partition)})
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	err := lg.forget(doomed)
	return lg.mu.written, err
}

func (lg *liveGroup) mayDeleteOffset(topic string, partition int32) int16 {
	if !lg.topicPartitionExists(topic, partition) {
		return kerr.UnknownTopicOrPartition.Code
	}
	return groupCodeOf(lg.mu.group.CheckDeleteOffset(record.Topic(topic)))
}

// tombstonesAtOnce bounds the records of one batch of tombstones.
const tombstonesAtOnce = 10_000

// forget writes tombstones for those of the offsets that the group has, and then
// forgets them. After an error the rest is still there.
func (lg *liveGroup) forget(partitions []record.TopicPartition) error {
	unknown := func(tp record.TopicPartition) bool {
		_, committed := lg.mu.group.Offset(tp)
		return !committed && !lg.mu.group.HasStaged(tp)
	}
	for some := range slices.Chunk(slices.DeleteFunc(partitions, unknown), tombstonesAtOnce) {
		records := make([]offsetsRecord, len(some))
		for i, tp := range some {
			records[i].key = offsetKey(lg.id, tp)
		}
		if _, err := lg.append(records); err != nil {
			return err
		}
		for _, tp := range some {
			lg.mu.group.RemoveOffset(tp)
			lg.mu.group.Unstage(tp)
		}
	}
	return nil
}

// forgetOffsets forgets, in all groups, the offsets of partitions that match,
// and waits until that is durable.
func (g *groups) forgetOffsets(match func(record.TopicPartition) bool, why string) {
	var last []written
	forgotten := 0
	g.each(g.b.syncing, func(lg *liveGroup) {
		var doomed []record.TopicPartition
		for _, tp := range lg.mu.group.Positions() {
			if match(tp) {
				doomed = append(doomed, tp)
			}
		}
		if len(doomed) == 0 {
			return
		}
		if err := lg.forget(doomed); err != nil {
			g.b.logger.Error("offsets of a deleted topic could not be removed: the next start removes them", "group", lg.id, "error", err)
			return
		}
		forgotten += len(doomed)
		last = append(last, lg.mu.written)
	})
	for _, w := range last {
		if err := w.wait(g.b); err != nil {
			g.b.logger.Error("the removal of offsets is not on stable storage: the next start removes them", "reason", why, "error", err)
			return
		}
	}
	if forgotten > 0 {
		g.b.logger.Info("committed offsets were forgotten", "reason", why, "offsets", forgotten)
	}
}
