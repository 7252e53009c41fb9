package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
	"millrace/record"
)

// Versions between which OffsetCommit may carry a retention of its own, the first
// one that knows GROUP_ID_NOT_FOUND, and the first one that names topics by ID.
const (
	firstCommitRetention = 2
	lastCommitRetention  = 4
	commitKnowsNoGroup   = 9
	commitsByTopicID     = 10
)

// offsetCommit stores positions. All of them are one batch, and the reply waits
// for one sync (C3).
func (g *groups) offsetCommit(_ *conn, req *kmsg.OffsetCommitRequest) reply {
	resp := offsetCommitResponse(req)
	g.nameTopics(req, resp)
	w, err := g.commit(req, resp)
	return func(context.Context) (response, error) {
		if err == nil {
			err = w.wait(g.b)
		}
		if err != nil {
			failCommit(resp, groupCodeOf(err))
		}
		return resp, nil
	}
}

// offsetCommitResponse has a place for the result of every partition asked for.
func offsetCommitResponse(req *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitResponse {
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetCommitResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewOffsetCommitResponseTopicPartition()
			rp.Partition = p.Partition
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

// nameTopics gives the topics that the request names by ID their names, and
// notes in resp where there is no topic of that ID.
func (g *groups) nameTopics(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) {
	if req.Version < commitsByTopicID {
		return
	}
	for i := range req.Topics {
		if t := g.b.catalog.topics.identified(req.Topics[i].TopicID); t != nil {
			req.Topics[i].Topic = string(t.name)
			continue
		}
		for j := range resp.Topics[i].Partitions {
			resp.Topics[i].Partitions[j].ErrorCode = kerr.UnknownTopicID.Code
		}
	}
}

// failCommit gives the code to all partitions that had no error of their own.
func failCommit(resp *kmsg.OffsetCommitResponse, code int16) {
	for _, t := range resp.Topics {
		for i := range t.Partitions {
			if t.Partitions[i].ErrorCode == 0 {
				t.Partitions[i].ErrorCode = code
			}
		}
	}
}

// commit lets the group decide and writes what it allows. An error concerns the
// whole request; those of single partitions are in resp.
func (g *groups) commit(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) (written, error) {
	lg, err := g.groupForCommit(req)
	if err != nil {
		return written{}, err
	}
	defer lg.unlock()
	err = lg.mu.group.CheckCommit(time.Now(), req.MemberID, orEmpty(req.InstanceID), req.Generation)
	if err != nil {
		return written{}, err
	}
	staged := lg.stage(req, resp)
	if len(staged.records) == 0 {
		return written{}, nil
	}
	if staged.newBytes > 0 && !g.hasRoom(staged.newBytes) {
		g.b.complaints.warn("offsets are refused because all groups together use the memory for groups", "group", req.Group)
		return written{}, refused(kerr.InvalidCommitOffsetSize, "the memory for groups is in use")
	}
	appended, err := lg.append(staged.records)
	if err != nil {
		return written{}, err
	}
	for i, o := range staged.offsets {
		o.Position = appended.Base + record.Offset(i)
		lg.mu.group.SetOffset(staged.partitions[i], o)
	}
	return lg.mu.written, nil
}

// groupForCommit is the group, locked. Who commits without a generation makes
// it: a client that assigns itself its partitions, or an administrator.
func (g *groups) groupForCommit(req *kmsg.OffsetCommitRequest) (*liveGroup, error) {
	s, err := g.ensureShard(req.Group)
	if err != nil {
		return nil, err
	}
	lg := s.lockGroup(req.Group, req.Generation < 0)
	switch {
	case lg != nil:
		return lg, nil
	case req.Version >= commitKnowsNoGroup:
		return nil, errNoSuchGroup
	}
	return nil, group.ErrGeneration
}

// stagedOffsets are the offsets of one request that may be written.
type stagedOffsets struct {
	partitions []record.TopicPartition
	offsets    []group.Offset
	records    []offsetsRecord
	newBytes   int // about what they add to the memory of groups
}

// stage collects what the request may commit, and notes in resp what it may not.
func (lg *liveGroup) stage(req *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse) stagedOffsets {
	var staged stagedOffsets
	at := record.TimestampOf(lg.shard.g.now())
	expires := expiryOf(req, at)
	for i, t := range req.Topics {
		for j, p := range t.Partitions {
			if resp.Topics[i].Partitions[j].ErrorCode != 0 {
				continue
			}
			metadata := orEmpty(p.Metadata)
			if !lg.topicPartitionExists(t.Topic, p.Partition) {
				resp.Topics[i].Partitions[j].ErrorCode = kerr.UnknownTopicOrPartition.Code
				continue
			}
			if err := lg.mu.group.CheckMetadata(metadata); err != nil {
				resp.Topics[i].Partitions[j].ErrorCode = groupCodeOf(err)
				continue
			}
			tp := record.TopicPartition{Topic: record.Topic(t.Topic), Partition: record.Partition(p.Partition)}
			o := group.Offset{
				Offset: record.Offset(p.Offset), LeaderEpoch: p.LeaderEpoch, Metadata: metadata,
				CommittedAt: at, ExpiresAt: expires,
			}
			staged.add(lg.id, tp, o)
			staged.newBytes += lg.growth(tp, o)
		}
	}
	return staged
}

// growth is about how many bytes more the group holds with the offset.
func (lg *liveGroup) growth(tp record.TopicPartition, o group.Offset) int {
	if before, known := lg.mu.group.Offset(tp); known {
		return len(o.Metadata) - len(before.Metadata)
	}
	return group.OffsetBytes + len(tp.Topic) + len(o.Metadata)
}

func (s *stagedOffsets) add(groupID string, tp record.TopicPartition, o group.Offset) {
	s.partitions = append(s.partitions, tp)
	s.offsets = append(s.offsets, o)
	s.records = append(s.records, offsetRecord(groupID, tp, o))
}

// expiryOf is when the request wants its offsets to be forgotten; NoTimestamp
// for the broker's own retention, which is all that newer versions know.
func expiryOf(req *kmsg.OffsetCommitRequest, at record.Timestamp) record.Timestamp {
	if req.Version < firstCommitRetention || req.Version > lastCommitRetention || req.RetentionTimeMillis < 0 {
		return record.NoTimestamp
	}
	if expires := at + record.Timestamp(req.RetentionTimeMillis); expires >= at {
		return expires
	}
	return record.NoTimestamp // so far away that it overflows: never by itself
}
