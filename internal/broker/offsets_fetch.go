package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// Versions from which on OffsetFetch asks differently.
const (
	fetchHasTopLevelError = 2
	fetchesByGroup        = 8
	fetchesByTopicID      = 10
)

// offsetFetch tells where groups are. What was appended before counts, and the
// reply waits until that is durable. RequireStable asks not to be told a position
// that an open transaction may move (KIP-447).
func (g *groups) offsetFetch(_ *conn, req *kmsg.OffsetFetchRequest) reply {
	asked := groupsAsked(req)
	found := make([]fetchedGroup, len(asked))
	for i, a := range asked {
		found[i] = g.fetchGroup(a, req.Version >= fetchesByTopicID, req.RequireStable)
	}
	return func(context.Context) (response, error) {
		resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
		for i := range found {
			found[i].await(g.b)
		}
		if req.Version >= fetchesByGroup {
			for _, f := range found {
				resp.Groups = append(resp.Groups, f.OffsetFetchResponseGroup)
			}
			return resp, nil
		}
		fillSingleFetch(resp, found[0].OffsetFetchResponseGroup)
		return resp, nil
	}
}

// groupsAsked is the request in the form of version 8.
func groupsAsked(req *kmsg.OffsetFetchRequest) []kmsg.OffsetFetchRequestGroup {
	if req.Version >= fetchesByGroup {
		return req.Groups
	}
	one := kmsg.NewOffsetFetchRequestGroup()
	one.Group = req.Group
	if req.Topics != nil || req.Version < fetchHasTopLevelError {
		one.Topics = []kmsg.OffsetFetchRequestGroupTopic{} // not null: null asks for all
	}
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetFetchRequestGroupTopic()
		rt.Topic, rt.Partitions = t.Topic, t.Partitions
		one.Topics = append(one.Topics, rt)
	}
	return []kmsg.OffsetFetchRequestGroup{one}
}

// fetchedGroup is a group's answer, before what it shows is known to be durable.
type fetchedGroup struct {
	kmsg.OffsetFetchResponseGroup
	written written
}

// await replaces what is not durable by the error: for the group, and for every
// partition, because version 1 has no other place.
func (f *fetchedGroup) await(b *Broker) {
	err := f.written.wait(b)
	if err == nil {
		return
	}
	f.ErrorCode = groupCodeOf(err)
	for _, t := range f.Topics {
		for i, p := range t.Partitions {
			t.Partitions[i] = fetchedPartition(p.Partition)
			t.Partitions[i].ErrorCode = f.ErrorCode
		}
	}
}

// fetchGroup collects what is asked for. byID says that the client knows topics by
// their IDs only.
func (g *groups) fetchGroup(asked kmsg.OffsetFetchRequestGroup, byID, stable bool) fetchedGroup {
	f := fetchedGroup{OffsetFetchResponseGroup: kmsg.NewOffsetFetchResponseGroup()}
	f.Group = asked.Group
	lg := g.lockGroup(asked.Group)
	if lg != nil {
		defer lg.unlock()
		f.written = lg.mu.written
		if asked.Topics == nil {
			asked.Topics = g.identify(lg.committedTopics(), byID)
		}
	}
	for _, t := range asked.Topics {
		rt := kmsg.NewOffsetFetchResponseGroupTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		known := g.b.catalog.topics.identified(t.TopicID)
		if known != nil {
			rt.Topic = string(known.name)
		}
		for _, p := range t.Partitions {
			shown := lg.show(rt.Topic, p, stable)
			if byID && known == nil {
				shown = fetchedPartition(p)
				shown.ErrorCode = kerr.UnknownTopicID.Code
			}
			rt.Partitions = append(rt.Partitions, shown)
		}
		f.Topics = append(f.Topics, rt)
	}
	return f
}

// identify gives topics their IDs, if the client wants them; then one that is
// gone cannot be shown.
func (g *groups) identify(topics []kmsg.OffsetFetchRequestGroupTopic, wanted bool) []kmsg.OffsetFetchRequestGroupTopic {
	if !wanted {
		return topics
	}
	kept := topics[:0]
	for _, asked := range topics {
		if t := g.b.catalog.topics.named(asked.Topic); t != nil {
			asked.TopicID = t.id
			kept = append(kept, asked)
		}
	}
	return kept
}

// committedTopics asks for everything that the group has committed.
func (lg *liveGroup) committedTopics() []kmsg.OffsetFetchRequestGroupTopic {
	byTopic := map[record.Topic][]int32{}
	for tp := range lg.mu.group.Offsets() {
		byTopic[tp.Topic] = append(byTopic[tp.Topic], int32(tp.Partition))
	}
	var all []kmsg.OffsetFetchRequestGroupTopic
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) {
		t := kmsg.NewOffsetFetchRequestGroupTopic()
		t.Topic, t.Partitions = string(topic), byTopic[topic]
		slices.Sort(t.Partitions)
		all = append(all, t)
	}
	return all
}

// show is one position for a client. lg is nil for a group that does not exist.
func (lg *liveGroup) show(topic string, partition int32, stable bool) kmsg.OffsetFetchResponseGroupTopicPartition {
	shown := fetchedPartition(partition)
	if lg == nil {
		return shown
	}
	tp := record.TopicPartition{Topic: record.Topic(topic), Partition: record.Partition(partition)}
	o, committed := lg.mu.group.Offset(tp)
	if !committed {
		o.Position = -1
	}
	switch {
	case stable && lg.mu.group.HasStaged(tp):
		shown.ErrorCode = kerr.UnstableOffsetCommit.Code
	case lg.doubtful(o.Position):
		shown.ErrorCode = kerr.CorruptMessage.Code
	case committed:
		shown.Offset, shown.LeaderEpoch, shown.Metadata = int64(o.Offset), o.LeaderEpoch, &o.Metadata
	}
	return shown
}

// fetchedPartition is that of a group which has not committed: no position.
func fetchedPartition(partition int32) kmsg.OffsetFetchResponseGroupTopicPartition {
	p := kmsg.NewOffsetFetchResponseGroupTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, -1, -1, new(string)
	return p
}

func fillSingleFetch(resp *kmsg.OffsetFetchResponse, found kmsg.OffsetFetchResponseGroup) {
	resp.ErrorCode = found.ErrorCode
	for _, t := range found.Topics {
		rt := kmsg.NewOffsetFetchResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetFetchResponseTopicPartition()
			rp.Partition, rp.Offset, rp.LeaderEpoch, rp.Metadata, rp.ErrorCode = p.Partition, p.Offset, p.LeaderEpoch, p.Metadata, p.ErrorCode
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
}
