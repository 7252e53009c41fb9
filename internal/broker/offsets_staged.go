package broker

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/group"
	"millrace/internal/log"
	"millrace/internal/txn"
	"millrace/record"
)

// stagedCommit is one TxnOffsetCommit on its way into a group: the offsets are
// written in a transactional batch of the producer, and count with its marker.
type stagedCommit struct {
	req  *kmsg.TxnOffsetCommitRequest
	resp *kmsg.TxnOffsetCommitResponse

	partitions []record.TopicPartition
	offsets    []group.Offset
	records    []offsetsRecord
}

func (sc *stagedCommit) producer() txn.Producer {
	return txn.Producer{ID: sc.req.ProducerID, Epoch: sc.req.ProducerEpoch}
}

// stageOffsets lets the group decide and writes what it allows, without a sync.
// join is called before anything is written: it brings the group's partition
// into the transaction. The caller holds the transactional id.
func (s *shard) stageOffsets(sc *stagedCommit, join func() error) (written, error) {
	lg := s.lockGroup(sc.req.Group, sc.req.Generation < 0)
	if lg == nil {
		return written{}, group.ErrGeneration
	}
	defer lg.unlock()
	err := lg.mu.group.CheckTxnCommit(time.Now(), sc.req.MemberID, orEmpty(sc.req.InstanceID), sc.req.Generation)
	if err != nil {
		return written{}, err
	}
	newBytes := sc.collect(lg)
	switch {
	case len(sc.records) == 0:
		return written{}, nil
	case !s.g.hasRoom(newBytes):
		s.g.b.complaints.warn("offsets are refused because all groups together use the memory for groups", "group", sc.req.Group)
		return written{}, refused(kerr.InvalidCommitOffsetSize, "the memory for groups is in use")
	}
	if err := join(); err != nil {
		return written{}, err
	}
	appended, err := lg.appendStaged(sc.producer(), sc.records)
	if err != nil {
		return written{}, err
	}
	for i, o := range sc.offsets {
		o.Position = appended.Base + record.Offset(i)
		lg.mu.group.Stage(sc.req.ProducerID, sc.partitions[i], o)
	}
	s.noteStaged(sc.req.ProducerID, lg)
	return lg.mu.written, nil
}

// collect takes what may be committed, notes in resp what may not, and says
// about how many bytes more the group will hold.
func (sc *stagedCommit) collect(lg *liveGroup) (newBytes int) {
	at := record.TimestampOf(lg.shard.g.now())
	for i, t := range sc.req.Topics {
		for j, p := range t.Partitions {
			tp := record.TopicPartition{Topic: record.Topic(t.Topic), Partition: record.Partition(p.Partition)}
			o := group.Offset{
				Offset: record.Offset(p.Offset), LeaderEpoch: p.LeaderEpoch, Metadata: orEmpty(p.Metadata),
				CommittedAt: at, ExpiresAt: record.NoTimestamp,
			}
			if !lg.topicPartitionExists(t.Topic, p.Partition) {
				sc.resp.Topics[i].Partitions[j].ErrorCode = kerr.UnknownTopicOrPartition.Code
				continue
			}
			if err := lg.mu.group.CheckMetadata(o.Metadata); err != nil {
				sc.resp.Topics[i].Partitions[j].ErrorCode = groupCodeOf(err)
				continue
			}
			sc.partitions = append(sc.partitions, tp)
			sc.offsets = append(sc.offsets, o)
			sc.records = append(sc.records, offsetRecord(lg.id, tp, o))
			newBytes += group.OffsetBytes + len(tp.Topic) + len(o.Metadata)
		}
	}
	return newBytes
}

// appendStaged writes records of this group within a transaction. The caller
// starts the sync. Every batch has sequence 0, as Kafka's coordinators write it.
func (lg *liveGroup) appendStaged(p txn.Producer, records []offsetsRecord) (log.Appended, error) {
	s := lg.shard
	builder := batch.NewBuilder(batch.BuilderOptions{ProducerID: p.ID, ProducerEpoch: p.Epoch, Transactional: true})
	at := record.TimestampOf(s.g.now())
	for _, r := range records {
		builder.Append(at, r.key, r.value, nil)
	}
	b, err := builder.Build()
	if err != nil {
		return log.Appended{}, fmt.Errorf("write to %s: %w", s.log.TP(), err)
	}
	a, err := s.log.Append(b, log.AppendOptions{Internal: true, Txn: true})
	if err != nil {
		s.g.b.complaints.warn("offsets of a transaction cannot be stored", "group", lg.id, "error", err)
		return a, err
	}
	lg.mu.written, lg.mu.writtenAt = written{Appended: a, any: true}, time.Now()
	return a, nil
}

// noteStaged remembers whom the producer's marker will concern.
func (s *shard) noteStaged(producerID int64, lg *liveGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := s.mu.staged[producerID]
	if groups == nil {
		groups = map[*liveGroup]struct{}{}
		s.mu.staged[producerID] = groups
	}
	groups[lg] = struct{}{}
}

// takeStaged is the groups with offsets in the producer's transaction, which ends.
func (s *shard) takeStaged(producerID int64) []*liveGroup {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := slices.Collect(maps.Keys(s.mu.staged[producerID]))
	delete(s.mu.staged, producerID)
	return groups
}

// settle applies a marker that was appended to a partition of the offsets topic.
// Who asks for the offsets from now on waits for its sync.
func (g *groups) settle(partition record.Partition, m log.Marker, a log.Appended) {
	shards := g.allShards()
	if int(partition) >= len(shards) {
		return
	}
	for _, lg := range shards[partition].takeStaged(m.ProducerID) {
		if lg.lock() {
			lg.mu.group.Settle(m.ProducerID, m.Commit)
			lg.mu.written, lg.mu.writtenAt = written{Appended: a, any: true}, time.Now()
			lg.unlock()
		}
	}
}
