package broker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"unicode/utf16"

	"millrace/internal/log"
	"millrace/record"
)

// offsetsSettings keep the newest record of every key. Segments are small, since
// the active one is not compacted: a start reads it all.
var offsetsSettings = map[string]string{
	"cleanup.policy": "compact",
	"segment.bytes":  "1048576",
}

// shard is one partition of the offsets topic, with the groups that belong to it.
type shard struct {
	g   *groups
	log *log.Log

	// damagedBelow is 0, or the offset behind damage that was found at the start:
	// what was committed last before it may be lost. See liveGroup.doubtful.
	damagedBelow record.Offset

	mu struct {
		sync.RWMutex
		groups map[string]*liveGroup
		staged map[int64]map[*liveGroup]struct{} // groups with offsets in a producer's transaction
	}
}

// openShards takes over the partitions of the offsets topic.
func (g *groups) openShards(t *topic) {
	shards := make([]*shard, len(t.logs()))
	for p, l := range t.logs() {
		shards[p] = &shard{g: g, log: l}
		shards[p].mu.groups = map[string]*liveGroup{}
		shards[p].mu.staged = map[int64]map[*liveGroup]struct{}{}
	}
	g.shards.Store(&shards)
}

// allShards is empty before the topic exists.
func (g *groups) allShards() []*shard {
	if shards := g.shards.Load(); shards != nil {
		return *shards
	}
	return nil
}

// shardOf is the group's shard, nil before the topic exists. The place is that
// of Kafka, so that a data directory means the same to both.
func (g *groups) shardOf(groupID string) *shard {
	shards := g.allShards()
	if len(shards) == 0 {
		return nil
	}
	return shards[partitionFor(groupID, len(shards))]
}

// partitionFor is Kafka's choice: the absolute value of the group id's hash, 0
// for the one number that has none.
func partitionFor(groupID string, partitions int) int {
	h := int64(int32(javaHash(groupID)))
	switch {
	case h == math.MinInt32:
		h = 0
	case h < 0:
		h = -h
	}
	return int(h % int64(partitions))
}

// javaHash is Java's String.hashCode: over UTF-16 code units, modulo 2^32.
func javaHash(s string) uint32 {
	var h uint32
	for _, r := range s {
		if hi, lo := utf16.EncodeRune(r); r > 0xffff {
			h = (h*31+uint32(hi))*31 + uint32(lo)
			continue
		}
		h = h*31 + uint32(r)
	}
	return h
}

// ensureShard is shardOf, and makes the offsets topic at the first use of a
// group in this data directory: the one time that a handler waits for the disk.
func (g *groups) ensureShard(groupID string) (*shard, error) {
	if s := g.shardOf(groupID); s != nil {
		return s, nil
	}
	if err := g.createTopic(); err != nil {
		return nil, err
	}
	return g.shardOf(groupID), nil
}

// createTopic makes the offsets topic durable, unless it exists.
func (g *groups) createTopic() error {
	g.creating.Lock()
	defer g.creating.Unlock()
	if g.shards.Load() != nil {
		return nil
	}
	spec := topicSpec{name: offsetsTopic, partitions: g.b.cfg.OffsetsPartitions, settings: offsetsSettings, internal: true}
	if err := g.b.catalog.create([]topicSpec{spec})[0]; err != nil && !errors.Is(err, errTopicExists) {
		err = fmt.Errorf("make %s: %w", offsetsTopic, err)
		g.b.complaints.warn("consumer groups cannot be served", "error", err)
		return err
	}
	g.openShards(g.b.catalog.topics.named(offsetsTopic))
	return nil
}

// all is every group of the shard, by id.
func (s *shard) all() []*liveGroup {
	s.mu.RLock()
	groups := slices.Collect(maps.Values(s.mu.groups))
	s.mu.RUnlock()
	slices.SortFunc(groups, func(a, b *liveGroup) int { return cmp.Compare(a.id, b.id) })
	return groups
}

// find is the group, or nil.
func (s *shard) find(id string) *liveGroup {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.mu.groups[id]
}

// findOrCreate is the group, made empty if there is none.
func (s *shard) findOrCreate(id string) *liveGroup {
	if lg := s.find(id); lg != nil {
		return lg
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if lg := s.mu.groups[id]; lg != nil {
		return lg
	}
	lg := newLiveGroup(s, id)
	s.mu.groups[id] = lg
	return lg
}

func (s *shard) remove(lg *liveGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.groups, lg.id)
}

// lockGroup is the group, locked; nil when there is none and create is false.
func (s *shard) lockGroup(id string, create bool) *liveGroup {
	for {
		lg := s.find(id)
		if lg == nil && create {
			lg = s.findOrCreate(id)
		}
		if lg == nil || lg.lock() {
			return lg
		}
	}
}

// lockGroup is shard.lockGroup for a group that must exist.
func (g *groups) lockGroup(id string) *liveGroup {
	s := g.shardOf(id)
	if s == nil {
		return nil
	}
	return s.lockGroup(id, false)
}

// append writes the records as one batch. They are in the page cache when it
// returns; on an error nothing was appended.
func (s *shard) append(records []offsetsRecord) (log.Appended, error) {
	b, release, err := buildBatch(records, record.TimestampOf(s.g.now()))
	if err != nil {
		return log.Appended{}, fmt.Errorf("write to %s: %w", s.log.TP(), err)
	}
	defer release()
	a, err := s.log.Append(b, log.AppendOptions{Sync: true, Internal: true})
	if err != nil {
		s.g.b.complaints.warn("consumer groups cannot be stored", "error", err)
		return a, err
	}
	return a, nil
}

// doubtful reports whether an offset that the group committed at this position,
// or never (-1), may not be its newest: a newer commit may have been in the part
// of the log that is damaged. Such an offset is not given out, because the group
// would go on from a wrong place without anybody noticing. A new commit ends the
// doubt. Groups that the start did not find are taken for new: the error that
// was logged then is all that a group has which was nowhere but in the damage.
func (lg *liveGroup) doubtful(position record.Offset) bool {
	damaged := lg.shard.damagedBelow > 0
	return damaged && lg.loaded && position < lg.shard.damagedBelow
}
