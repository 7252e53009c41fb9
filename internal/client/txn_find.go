package client

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/record"
)

// findLeaders asks for the leaders of partitions that lack one, until the
// fetcher is closed.
func (f *fetcher) findLeaders() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-f.lookup:
		case <-timer.C:
		case <-f.life.Done():
			return
		}
		topics, next := f.leaderless(time.Now())
		if len(topics) > 0 {
			f.metadata(topics)
			_, next = f.leaderless(time.Now())
		}
		if !next.IsZero() {
			timer.Reset(max(time.Until(next), time.Millisecond))
		}
	}
}

// leaderless are the topics of the partitions whose leader is to be asked for
// now, and when the next one is due.
func (f *fetcher) leaderless(now time.Time) (topics []record.Topic, next time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := make(map[record.Topic]bool)
	for _, p := range f.order {
		switch {
		case p.leader >= 0 || p.halted:
		case p.after.After(now):
			if next.IsZero() || p.after.Before(next) {
				next = p.after
			}
		case !seen[p.Topic]:
			seen[p.Topic] = true
			topics = append(topics, p.Topic)
		}
	}
	return topics, next
}

// findTimeout bounds one question after leaders or positions.
const findTimeout = 10 * time.Second

func (f *fetcher) metadata(topics []record.Topic) {
	ctx, cancel := context.WithTimeout(f.life, findTimeout)
	defer cancel()
	answer, err := askFor(topics).RequestWith(ctx, f.client)
	known := make(map[record.Topic]*kmsg.MetadataResponseTopic)
	if err == nil {
		for i := range answer.Topics {
			if t := &answer.Topics[i]; t.Topic != nil {
				known[record.Topic(*t.Topic)] = t
			}
		}
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.order {
		if p.leader < 0 && !p.halted && !p.after.After(now) {
			f.place(p, known[p.Topic], now)
		}
	}
	f.kick()
}

// missingOften is how often the cluster must say that a topic does not exist
// until that is believed: a broker that has just started may not know it yet.
const missingOften = 7 // more than a second

// place gives a partition to the leader that the cluster names.
func (f *fetcher) place(p *feed, t *kmsg.MetadataResponseTopic, now time.Time) {
	p.mislead(now)
	if t == nil {
		return
	}
	switch err := kerr.ErrorForCode(t.ErrorCode); {
	case isAny(err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID):
		if p.missing++; p.missing >= missingOften {
			f.missing(p)
		}
		return
	case err != nil && !kerr.IsRetriable(err):
		p.halt(err)
		signal(f.ready)
		return
	case err != nil:
		return
	}
	p.missing = 0
	if id, known := f.ids[p.Topic]; known && id != t.TopicID {
		f.missing(p) // the one that was read is gone
		return
	}
	f.ids[p.Topic] = t.TopicID
	for i := range t.Partitions {
		if at := &t.Partitions[i]; at.Partition == int32(p.Partition) && at.Leader >= 0 {
			if p.leaderEpoch >= 0 && at.LeaderEpoch > p.leaderEpoch && p.epoch >= 0 {
				p.unproven = true // a new leader may lack what the old one had
			}
			p.leader, p.leaderEpoch = at.Leader, at.LeaderEpoch
			f.leaderOf(at.Leader)
		}
	}
}

func (f *fetcher) missing(p *feed) {
	p.halt(UnknownTopicError{Topic: p.Topic})
	signal(f.ready)
}

// leaderOf starts the goroutine of a broker that has none yet. There are as many
// as brokers.
func (f *fetcher) leaderOf(node int32) {
	if f.leaders[node] == nil && f.life.Err() == nil {
		l := &leader{fetcher: f, broker: f.client.Broker(int(node)), node: node, kick: make(chan struct{}, 1)}
		f.leaders[node] = l
		f.wg.Go(l.run)
	}
}

// prove holds positions against a leader's log (KIP-320): if the epoch of the
// record before a position ends earlier than the position, records were lost
// that this group has counted. It reports whether there was anything to ask.
func (f *fetcher) prove(l *leader) bool {
	want := f.unproven(l)
	if len(want) == 0 {
		return false
	}
	request := kmsg.NewPtrOffsetForLeaderEpochRequest()
	for i := range want {
		a := &want[i]
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = int32(a.feed.Partition), a.leaderEpoch, a.epoch
		topic := kmsg.NewOffsetForLeaderEpochRequestTopic()
		topic.Topic, topic.Partitions = string(a.feed.Topic), append(topic.Partitions, p)
		request.Topics = append(request.Topics, topic)
	}
	ctx, cancel := context.WithTimeout(f.life, findTimeout)
	defer cancel()
	response, err := l.broker.Request(ctx, request)
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		for _, t := range response.(*kmsg.OffsetForLeaderEpochResponse).Topics {
			for i := range t.Partitions {
				f.proven(want, t.Topic, &t.Partitions[i])
			}
		}
	}
	for i := range want {
		if p := want[i].feed; want[i].current() && p.unproven {
			p.mislead(now)
			signal(f.lookup)
		}
	}
	return true
}

func (f *fetcher) unproven(l *leader) []asked {
	f.mu.Lock()
	defer f.mu.Unlock()
	var want []asked
	for _, p := range f.order {
		if p.leader == l.node && p.unproven && p.running && !p.halted {
			want = append(want, asked{p, p.turns, f.ids[p.Topic], p.leaderEpoch, p.next, p.epoch})
		}
	}
	return want
}

func (f *fetcher) proven(want []asked, topic string, answer *kmsg.OffsetForLeaderEpochResponseTopicPartition) {
	for i := range want {
		a := &want[i]
		if !a.current() || string(a.feed.Topic) != topic || int32(a.feed.Partition) != answer.Partition || answer.ErrorCode != 0 {
			continue
		}
		p := a.feed
		p.unproven = false
		if end := record.Offset(answer.EndOffset); end >= 0 && end < p.next { // negative: the leader does not know that epoch
			p.halt(&PositionError{TopicPartition: p.TopicPartition, Wanted: p.next, Err: &kgo.ErrDataLoss{
				Topic: topic, Partition: answer.Partition, ConsumedTo: int64(p.next), ConsumedToEpoch: p.epoch, ResetTo: int64(end), ResetToEpoch: answer.LeaderEpoch,
			}})
			signal(f.ready)
		}
	}
}
