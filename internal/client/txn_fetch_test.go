package client

import (
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/record"
)

// fed is a fetcher with one partition, whose leader is asked by the test.
func fed(limit int) (*fetcher, *leader, *feed) {
	f := newFetcher(time.Second, limit)
	tp := record.TopicPartition{Topic: "in"}
	f.assign([]record.TopicPartition{tp})
	f.seek(map[record.TopicPartition]Position{tp: {LeaderEpoch: -1}})
	f.resume([]record.TopicPartition{tp})
	l := &leader{fetcher: f, kick: make(chan struct{}, 1)}
	f.leaders[0] = l
	f.feeds[tp].leader = 0
	return f, l, f.feeds[tp]
}

// answer serves one request with n records from the position on; false when the
// fetcher asked for nothing.
func answer(t testing.TB, f *fetcher, l *leader, n int, epoch func(record.Offset) int32) bool {
	want, request, _ := f.plan(l)
	if len(want) == 0 {
		return false
	}
	response := kmsg.NewPtrFetchResponse()
	topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	topic.Topic = "in"
	partition.LastStableOffset, partition.HighWatermark = 1<<40, 1<<40
	for i := range n {
		b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
		b.Append(1, nil, make([]byte, 100), nil)
		whole, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		at := want[0].next + record.Offset(i)
		batch.SetBaseOffset(whole, at)
		batch.SetLeaderEpoch(whole, epoch(at))
		partition.RecordBatches = append(partition.RecordBatches, whole...)
	}
	topic.Partitions = append(topic.Partitions, partition)
	response.Topics = append(response.Topics, topic)
	l.answered(want, int(request.MaxBytes), response)
	return true
}

func zero(record.Offset) int32 { return 0 }

func TestFetchingAheadIsBounded(t *testing.T) {
	const limit = 1 << 20
	f, l, p := fed(limit)
	answers := 0
	for answer(t, f, l, 200, zero) {
		if answers++; f.ahead != p.size || f.ahead > 2*limit {
			t.Fatalf("%d bytes ahead, %d of the partition", f.ahead, p.size)
		}
	}
	if answers < 2 || answers > 100 {
		t.Fatalf("stopped after %d answers", answers)
	}
	next := record.Offset(0)
	for range answers {
		columns, faults := f.take(nil, 1_000_000)
		if len(columns) != 1 || len(faults) > 0 || columns[0].Offsets[0] != next {
			t.Fatal(columns, faults)
		}
		next = columns[0].Next
	}
	if f.ahead != 0 || next != record.Offset(answers)*200 {
		t.Errorf("%d bytes ahead of %d answers, next is %d", f.ahead, answers, next)
	}
	if !answer(t, f, l, 1, zero) {
		t.Error("it does not go on after everything was taken")
	}
}

// While enough of one partition is waiting, a broker must not hold the question
// after the others for long: that one would run dry.
func TestQuestionsAreShortWhilePartitionsAreLeftOut(t *testing.T) {
	f, l, _ := fed(64 << 20)
	other := []record.TopicPartition{{Topic: "in", Partition: 1}}
	asked := func() time.Duration {
		_, request, _ := f.plan(l)
		f.ahead -= int(request.MaxBytes)
		return time.Duration(request.MaxWaitMillis) * time.Millisecond
	}
	if got := asked(); got != f.maxWait {
		t.Errorf("with all partitions in the request it waits %v", got)
	}
	f.assign(other)
	f.feeds[other[0]].leader = 0
	if got := asked(); got != shortWait {
		t.Errorf("while one is paused it waits %v", got)
	}
	f.seek(map[record.TopicPartition]Position{other[0]: {LeaderEpoch: -1}})
	f.resume(other)
	f.feeds[other[0]].size = 2 * partitionBytes
	if got := asked(); got != fullWait {
		t.Errorf("while enough of one is waiting it waits %v", got)
	}
}

// What was asked for before a seek is not handed over after it.
func TestAnswersThatComeTooLate(t *testing.T) {
	for name, change := range map[string]func(*fetcher, []record.TopicPartition){
		"seek": func(f *fetcher, tps []record.TopicPartition) {
			f.seek(map[record.TopicPartition]Position{tps[0]: {Offset: 7, LeaderEpoch: -1}})
		},
		"pause":        (*fetcher).pause,
		"revoke":       (*fetcher).revoke,
		"assign again": (*fetcher).assign,
		"retain nothing": func(f *fetcher, tps []record.TopicPartition) {
			f.retain(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, l, p := fed(1 << 20)
			want, request, ctx := f.plan(l)
			change(f, []record.TopicPartition{p.TopicPartition})
			if name == "seek" && ctx.Err() == nil {
				t.Error("the request would keep the partition waiting")
			}
			r := kmsg.NewPtrFetchResponse()
			topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
			topic.Topic = "in"
			b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
			b.Append(1, nil, nil, nil)
			partition.RecordBatches, _ = b.Build()
			topic.Partitions = append(topic.Partitions, partition)
			r.Topics = append(r.Topics, topic)
			l.answered(want, int(request.MaxBytes), r)
			if columns, faults := f.take(nil, 100); len(columns) > 0 || len(faults) > 0 || f.ahead != 0 {
				t.Errorf("%d columns, %v, %d bytes ahead", len(columns), faults, f.ahead)
			}
		})
	}
}

// A partition may be taken away while the first half of a chunk is processed: its
// columns are not for others then.
func TestLentColumnsAreNotUsedAgain(t *testing.T) {
	f, l, p := fed(1 << 20)
	answer(t, f, l, 5, zero)
	lent, _ := f.take(nil, 3)
	f.revoke([]record.TopicPartition{p.TopicPartition})
	if other, ok := f.spare.Get().(*batch.Columns); ok { // as the next answer of another partition does
		other.Reset()
		other.Offsets = append(other.Offsets, 70, 71, 72)
	}
	if got := lent[0].Offsets; !slices.Equal(got, []record.Offset{0, 1, 2}) {
		t.Errorf("the lent offsets have become %v", got)
	}
}

// The epoch of columns is that of their last record, and so that of each.
func TestColumnsHaveOneEpoch(t *testing.T) {
	f, l, _ := fed(1 << 20)
	grows := func(o record.Offset) int32 { return int32(o / 3) }
	var next record.Offset
	for next < 9 {
		answer(t, f, l, 5, grows)
		columns, _ := f.take(nil, 100)
		for _, c := range columns {
			for _, o := range c.Offsets {
				if o != next || c.LeaderEpoch != grows(o) {
					t.Fatalf("offset %d after %d, epoch %d", o, next, c.LeaderEpoch)
				}
				next++
			}
		}
	}
}

func TestPositionsMustBeThoseThatWereRead(t *testing.T) {
	f, l, p := fed(1 << 20)
	answer(t, f, l, 5, zero)
	stands := func(o record.Offset) bool {
		return f.stands(map[record.TopicPartition]Position{p.TopicPartition: {Offset: o}}) == nil
	}
	if !stands(0) || stands(5) {
		t.Error("nothing was taken yet")
	}
	f.take(nil, 3)
	if !stands(3) || stands(5) {
		t.Error("three records were taken")
	}
	f.take(nil, 3)
	if !stands(5) || !stands(4) {
		t.Error("five records were taken, and one may be held back")
	}
	f.seek(map[record.TopicPartition]Position{p.TopicPartition: {Offset: 5, LeaderEpoch: -1}})
	if !stands(5) || stands(4) {
		t.Error("before 5 nothing was read since the seek")
	}
	f.assign([]record.TopicPartition{p.TopicPartition}) // it was given away meanwhile
	if stands(5) {
		t.Error("what another member has done meanwhile is not known")
	}
}

func TestFaultsComeBehindTheRecords(t *testing.T) {
	f, l, p := fed(1 << 20)
	answer(t, f, l, 5, zero)
	f.settle(&result{asked: &asked{feed: p, turns: p.turns}, err: kerr.OffsetOutOfRange}, time.Now())
	for _, want := range []struct{ columns, faults int }{{1, 0}, {1, 0}, {0, 1}, {0, 0}} {
		columns, faults := f.take(nil, 3)
		if len(columns) != want.columns || len(faults) != want.faults {
			t.Fatal(columns, faults)
		}
	}
	if answer(t, f, l, 1, zero) {
		t.Error("a partition with a fault is read on")
	}
}

// BenchmarkFetched takes an answer of 1 MiB apart and hands it over.
func BenchmarkFetched(b *testing.B) {
	f, l, p := fed(64 << 20)
	builder := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
	const records = 14_000
	for i := range records {
		builder.Append(record.Timestamp(i), nil, make([]byte, 62), nil)
	}
	whole, err := builder.Build()
	if err != nil {
		b.Fatal(err)
	}
	response := kmsg.NewPtrFetchResponse()
	topic, partition := kmsg.NewFetchResponseTopic(), kmsg.NewFetchResponseTopicPartition()
	topic.Topic, partition.RecordBatches = "in", whole
	topic.Partitions = append(topic.Partitions, partition)
	response.Topics = append(response.Topics, topic)
	var columns []Columns
	b.ReportAllocs()
	for b.Loop() {
		f.seek(map[record.TopicPartition]Position{p.TopicPartition: {LeaderEpoch: -1}})
		want, request, _ := f.plan(l)
		l.answered(want, int(request.MaxBytes), response)
		columns, _ = f.take(columns[:0], records)
		if len(columns) != 1 || len(columns[0].Offsets) != records {
			b.Fatal(columns)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}
