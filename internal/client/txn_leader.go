package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/record"
)

// leader is the goroutine that asks one broker.
type leader struct {
	fetcher *fetcher
	broker  *kgo.Broker
	node    int32
	kick    chan struct{} // holds one: look for what to ask
	decoder decoder
	cancel  context.CancelFunc // of the request that is under way; nil: none
}

// asked is what a request wants of one partition.
type asked struct {
	feed        *feed
	turns       int
	topicID     [16]byte
	leaderEpoch int32
	next        record.Offset
	epoch       int32
}

// current says that the answer is still wanted.
func (a *asked) current() bool { return a.feed.turns == a.turns }

const (
	// answerBytes bounds one answer, partitionBytes one partition's share of it:
	// enough that the way there and back does not count, little enough that it
	// is in the processor's cache when it is taken apart. A batch that is larger
	// comes alone.
	answerBytes    = 4 << 20
	partitionBytes = 1 << 20

	// shortWait is how long a broker may hold an empty answer while partitions
	// of its are left out of the request, since they could be asked for any time.
	shortWait = 20 * time.Millisecond

	// fullWait is that while a partition is left out because enough of it is
	// waiting: that is taken in a few milliseconds. A job that re-keys asks for
	// its repartition topics then, which are empty between two commits; while the
	// broker waits for records there, nobody asks for more of the input.
	fullWait = 2 * time.Millisecond
)

// giveUp ends the request that is under way.
func (l *leader) giveUp() {
	if l != nil && l.cancel != nil {
		l.cancel()
	}
}

func (l *leader) run() {
	f := l.fetcher
	for f.life.Err() == nil {
		if f.prove(l) {
			continue
		}
		want, request, ctx := f.plan(l)
		if len(want) == 0 {
			select {
			case <-l.kick:
			case <-f.life.Done():
			}
			continue
		}
		response, err := l.broker.Request(ctx, request)
		if err != nil {
			l.failed(want, int(request.MaxBytes), err)
			continue
		}
		l.answered(want, int(request.MaxBytes), response.(*kmsg.FetchResponse))
	}
}

// plan makes the next request to a leader: all its partitions that may be read
// and of which not much is waiting. None while there is no room.
func (f *fetcher) plan(l *leader) ([]asked, *kmsg.FetchRequest, context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := min(answerBytes, f.limit/4)
	if f.ahead+size > f.limit {
		return nil, nil, nil
	}
	var want []asked
	wait := f.maxWait
	for i := range f.order {
		p := f.order[(f.turn+i)%len(f.order)]
		if p.leader != l.node || p.halted {
			continue
		}
		if !p.running || p.next < 0 || p.unproven {
			wait = min(wait, shortWait)
			continue
		}
		if p.size > min(partitionBytes, size) {
			wait = min(wait, fullWait)
			continue
		}
		p.asked = true
		want = append(want, asked{p, p.turns, f.ids[p.Topic], p.leaderEpoch, p.next, p.epoch})
	}
	if len(want) == 0 {
		return nil, nil, nil
	}
	ctx, cancel := context.WithCancel(f.life)
	l.cancel = cancel
	f.ahead += size
	return want, fetchRequest(want, size, wait), ctx
}

func fetchRequest(want []asked, size int, wait time.Duration) *kmsg.FetchRequest {
	r := kmsg.NewPtrFetchRequest()
	r.MaxBytes, r.MinBytes, r.MaxWaitMillis, r.IsolationLevel = int32(size), 1, int32(wait.Milliseconds()), 1
	for i := range want {
		a := &want[i]
		at := slices.IndexFunc(r.Topics, func(t kmsg.FetchRequestTopic) bool { return t.Topic == string(a.feed.Topic) })
		if at < 0 {
			topic := kmsg.NewFetchRequestTopic()
			topic.Topic, topic.TopicID = string(a.feed.Topic), a.topicID
			at, r.Topics = len(r.Topics), append(r.Topics, topic)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch = int32(a.feed.Partition), a.leaderEpoch
		p.FetchOffset, p.PartitionMaxBytes = int64(a.next), int32(min(size, partitionBytes))
		r.Topics[at].Partitions = append(r.Topics[at].Partitions, p)
	}
	return r
}

// failed takes that a broker gave no answer.
func (l *leader) failed(want []asked, size int, err error) {
	f := l.fetcher
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended(l, want, size)
	for i := range want {
		switch a := &want[i]; {
		case !a.current() || errors.Is(err, context.Canceled): // given up: the others are asked again at once
		case lasting(err):
			a.feed.halt(fmt.Errorf("read %s: %w", a.feed.TopicPartition, err))
			signal(f.ready)
		default:
			a.feed.mislead(time.Now())
		}
	}
	signal(f.lookup)
}

// lasting tells refusals, such as of a login, from brokers that are away.
func lasting(err error) bool {
	refused, answered := errors.AsType[*kerr.Error](err)
	return answered && !refused.Retriable || untrusted(err)
}

// ended takes back what plan has noted.
func (f *fetcher) ended(l *leader, want []asked, size int) {
	l.cancel()
	l.cancel = nil
	f.ahead -= size
	for i := range want {
		if want[i].current() {
			want[i].feed.asked = false
		}
	}
}

// answered takes an answer apart, and adds it to the feeds that still want it.
func (l *leader) answered(want []asked, size int, response *kmsg.FetchResponse) {
	f := l.fetcher
	if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
		l.failed(want, size, err)
		return
	}
	results := make([]result, 0, len(want))
	for i := range response.Topics {
		t := &response.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if a := find(want, t, p.Partition); a != nil {
				results = append(results, l.decode(a, p))
			}
		}
	}
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended(l, want, size)
	for i := range results {
		f.settle(&results[i], now)
	}
}

func find(want []asked, t *kmsg.FetchResponseTopic, partition int32) *asked {
	for i := range want {
		a := &want[i]
		if a.feed.Partition == record.Partition(partition) && (string(a.feed.Topic) == t.Topic || t.Topic == "" && a.topicID == t.TopicID) {
			return a
		}
	}
	return nil
}

// result is one partition of an answer.
type result struct {
	asked *asked
	chunk chunk // without columns when the answer had no records
	err   error
}

// decode takes apart what a broker has answered for one partition. What comes
// before damage is good.
func (l *leader) decode(a *asked, p *kmsg.FetchResponseTopicPartition) result {
	r := result{asked: a, err: kerr.ErrorForCode(p.ErrorCode)}
	if r.err != nil || len(p.RecordBatches) == 0 {
		return r
	}
	columns, _ := l.fetcher.spare.Get().(*batch.Columns)
	if columns == nil {
		columns = new(batch.Columns)
	}
	columns.Reset()
	c := &r.chunk
	*c = chunk{columns: columns, next: a.next, epoch: a.epoch, stable: record.Offset(p.LastStableOffset), high: record.Offset(p.HighWatermark)}
	l.decoder.begin(p.AbortedTransactions)
	for b, err := range batch.Split(p.RecordBatches) {
		if errors.Is(err, batch.ErrTorn) {
			break // a broker may cut the last batch of an answer
		}
		good := len(columns.Offsets)
		var h batch.Header
		if err == nil {
			h, err = l.decoder.batch(b, c.next, columns)
		}
		if err != nil {
			columns.Truncate(good)
			r.err = kerr.CorruptMessage
			break
		}
		if good > 0 && h.LeaderEpoch != c.epoch {
			columns.Truncate(good) // the columns have one epoch: these come with the next answer
			break
		}
		if h.Codec() != batch.None {
			l.decoder.release()
		}
		if h.LastOffset() >= c.next {
			c.next, c.epoch = h.LastOffset()+1, h.LeaderEpoch
		}
	}
	c.size = len(p.RecordBatches) + columnBytes*len(columns.Offsets)
	return r
}

// settle adds a result to its feed.
func (f *fetcher) settle(r *result, now time.Time) {
	p, c := r.asked.feed, &r.chunk
	switch {
	case !r.asked.current():
		if c.columns != nil {
			f.spare.Put(c.columns)
		}
		return
	case c.columns == nil:
	case c.next > p.next:
		p.next, p.epoch = c.next, c.epoch
		p.chunks, p.size = append(p.chunks, *c), p.size+c.size
		f.ahead += c.size
		signal(f.ready)
	default:
		f.spare.Put(c.columns)
		if r.err == nil { // a batch that is cut although it comes first
			r.err = kerr.UnknownServerError
		}
	}
	switch {
	case r.err == nil:
		p.failures, p.missing = 0, 0
	case isAny(r.err, kerr.CorruptMessage):
		p.halt(CorruptError{p.TopicPartition, p.next})
	case isAny(r.err, kerr.OffsetOutOfRange):
		p.halt(&PositionError{TopicPartition: p.TopicPartition, Wanted: p.next, Err: r.err})
	case kerr.IsRetriable(r.err) || isAny(r.err, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InconsistentTopicID, kerr.UnknownServerError):
		p.mislead(now)
		signal(f.lookup)
	default:
		p.halt(fmt.Errorf("read %s: %w", p.TopicPartition, r.err))
	}
	if p.fault != nil {
		signal(f.ready)
	}
}
