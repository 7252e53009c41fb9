package group

import (
	"iter"
	"maps"
	"time"

	"millrace/record"
)

// Offset is one committed position: the next record that the group will read.
type Offset struct {
	Offset      record.Offset
	LeaderEpoch int32 // -1: not said
	Metadata    string
	CommittedAt record.Timestamp
	// ExpiresAt is set when the client asked for a retention of its own
	// (OffsetCommit 2 to 4), else NoTimestamp.
	ExpiresAt record.Timestamp
	// Position is where the record of this commit lies in the offsets topic.
	Position record.Offset
}

// CheckCommit says whether offsets may be committed by this member, and keeps
// its session alive. An empty member id with generation -1 is a client outside
// of the group's membership (assign, an administrator): it may commit while the
// group is empty.
func (g *Group) CheckCommit(now time.Time, memberID, instanceID string, generation int32) error {
	g.begin(now)
	outside := generation < 0 && memberID == "" && instanceID == ""
	switch {
	case g.state == Dead:
		return ErrDead
	case g.state == Empty && generation < 0:
		return nil
	case outside:
		return ErrUnknownMember
	}
	m, err := g.current(memberID, instanceID, generation)
	if err != nil {
		return err
	}
	if g.state == CompletingRebalance {
		// The member knows the generation, but nobody owns anything in it yet.
		return ErrRebalancing
	}
	g.touch(m)
	return nil
}

// CheckMetadata refuses text beside an offset that is too long.
func (g *Group) CheckMetadata(metadata string) error {
	if len(metadata) > g.cfg.MaxOffsetMetadata {
		return ErrOffsetMetadataTooLarge
	}
	return nil
}

// OffsetBytes is about what one offset costs in memory beside its names.
const OffsetBytes = 200

func (o Offset) sizeBytes(tp record.TopicPartition) int {
	return OffsetBytes + len(tp.Topic) + len(o.Metadata)
}

// SetOffset records a commit that was checked and written.
func (g *Group) SetOffset(tp record.TopicPartition, o Offset) {
	g.RemoveOffset(tp)
	g.offsets[tp] = o
	g.offsetSizes += o.sizeBytes(tp)
}

// RemoveOffset forgets an offset whose tombstone was written.
func (g *Group) RemoveOffset(tp record.TopicPartition) {
	if o, ok := g.offsets[tp]; ok {
		g.offsetSizes -= o.sizeBytes(tp)
		delete(g.offsets, tp)
	}
}

// Offset is the group's position in tp; ok is false when it has none.
func (g *Group) Offset(tp record.TopicPartition) (o Offset, ok bool) {
	o, ok = g.offsets[tp]
	return o, ok
}

// Offsets is all positions of the group, in no order.
func (g *Group) Offsets() iter.Seq2[record.TopicPartition, Offset] { return maps.All(g.offsets) }

// OffsetCount is the number of positions.
func (g *Group) OffsetCount() int { return len(g.offsets) }

// Expired is the positions that may be forgotten at now: after the retention,
// counted from when the group became empty; for a simple group, and for topics
// that a stable consumer group no longer reads, from the commit.
func (g *Group) Expired(now time.Time) []record.TopicPartition {
	since, known := g.retentionStart()
	if !known {
		return nil
	}
	var expired []record.TopicPartition
	for tp, o := range g.offsets {
		if !g.subscribedTo(tp.Topic) && !g.HasStaged(tp) && g.expired(o, since, record.TimestampOf(now)) {
			expired = append(expired, tp)
		}
	}
	return expired
}

// retentionStart is the moment from which offsets age, NoTimestamp for their
// own commit; known is false while none of them does.
func (g *Group) retentionStart() (since record.Timestamp, known bool) {
	switch {
	case g.protocolType == "":
		return record.NoTimestamp, true
	case g.state == Empty:
		return g.sinceMs, true
	case g.state == Stable && g.usesConsumerProtocol() && g.topics != nil:
		return record.NoTimestamp, true
	}
	return record.NoTimestamp, false
}

func (g *Group) expired(o Offset, since, now record.Timestamp) bool {
	if o.ExpiresAt != record.NoTimestamp {
		return now >= o.ExpiresAt
	}
	if since == record.NoTimestamp {
		since = o.CommittedAt
	}
	return int64(now)-int64(since) >= g.cfg.OffsetsRetention.Milliseconds()
}

// CheckDeleteOffset says whether the group's offsets in the topic may be deleted.
func (g *Group) CheckDeleteOffset(t record.Topic) error {
	if g.subscribedTo(t) {
		return ErrSubscribed
	}
	return nil
}

// CheckDeleteOffsets says whether offsets may be deleted at all: members of an
// unknown protocol might use any of them.
func (g *Group) CheckDeleteOffsets() error {
	switch {
	case g.state == Dead:
		return ErrDead
	case g.state != Empty && !g.usesConsumerProtocol():
		return ErrNotEmpty
	}
	return nil
}

// CheckDelete says whether the group may be deleted.
func (g *Group) CheckDelete() error {
	switch g.state {
	case Dead:
		return ErrDead
	case Empty:
		return nil
	}
	return ErrNotEmpty
}
