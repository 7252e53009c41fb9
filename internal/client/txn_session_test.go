package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/internal/client"
	"millrace/record"
)

var first = record.TopicPartition{Topic: clicks}

// reading is a session that has joined its group and reads from the offset 0.
type reading struct {
	*client.Session
	t    *testing.T
	next map[record.TopicPartition]record.Offset
}

func openSession(t *testing.T, c client.Config) *reading {
	t.Helper()
	session, err := client.NewSession(c, client.SessionConfig{Group: "job", TransactionalID: "job-1", Groups: [][]record.Topic{{clicks}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(session.Close)
	r := &reading{Session: session, t: t, next: make(map[record.TopicPartition]record.Offset)}
	if err := session.Open(soon(t)); err != nil {
		t.Fatal(err)
	}
	for len(r.next) == 0 {
		r.poll()
		for _, e := range session.Events() {
			for _, tp := range e.Partitions {
				r.next[tp] = 0
			}
		}
	}
	r.from(0)
	r.Resume(r.partitions())
	return r
}

func (r *reading) partitions() []record.TopicPartition {
	var all []record.TopicPartition
	for tp := range r.next {
		all = append(all, tp)
	}
	return all
}

func (r *reading) from(offset record.Offset) {
	back := make(map[record.TopicPartition]client.Position)
	for tp := range r.next {
		back[tp] = client.Position{Offset: offset, LeaderEpoch: -1}
		r.next[tp] = offset
	}
	r.Rewind(back)
}

func (r *reading) poll() ([]client.Columns, error) {
	return r.Poll(soon(r.t), 100*time.Millisecond, 10)
}

// values reads until n records have come, or an error.
func (r *reading) values(n int) ([]string, error) {
	r.t.Helper()
	var values []string
	for ctx := soon(r.t); len(values) < n; {
		if ctx.Err() != nil {
			r.t.Fatalf("%d of %d records came: %q", len(values), n, values)
		}
		columns, err := r.poll()
		for i := range columns {
			c := &columns[i]
			if len(c.Offsets) > 0 && c.Offsets[0] < r.next[c.TopicPartition] || c.Next < r.next[c.TopicPartition] {
				r.t.Fatalf("%s went back from %d to %d", c.TopicPartition, r.next[c.TopicPartition], c.Offsets[0])
			}
			r.next[c.TopicPartition] = c.Next
			for _, v := range c.Values {
				values = append(values, string(v))
			}
		}
		if err != nil {
			return values, err
		}
	}
	return values, nil
}

// writer produces in transactions.
func writer(t *testing.T, c client.Config, codec kgo.CompressionCodec) *kgo.Client {
	t.Helper()
	w, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.TransactionalID("writer"), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(codec))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func write(t *testing.T, w *kgo.Client, end kgo.TransactionEndTry, values ...string) {
	t.Helper()
	if err := w.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		r := &kgo.Record{Topic: string(clicks), Value: []byte(v), Headers: []kgo.RecordHeader{{Key: "as", Value: []byte(v)}}}
		if err := w.ProduceSync(soon(t), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.EndTransaction(soon(t), end); err != nil {
		t.Fatal(err)
	}
}

func TestSessionReadsWhatIsCommitted(t *testing.T) {
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "zstd": kgo.ZstdCompression(), "snappy": kgo.SnappyCompression()} {
		t.Run(name, func(t *testing.T) {
			c := fakeCluster(t, kfake.DefaultNumPartitions(1))
			w := writer(t, c, codec)
			write(t, w, kgo.TryCommit, "a", "b")
			write(t, w, kgo.TryAbort, "x", "y")
			write(t, w, kgo.TryCommit, "c")
			r := openSession(t, c)
			got, err := r.values(3)
			if err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
				t.Fatal(got, err)
			}
			r.from(1)
			if got, err := r.values(2); err != nil || !slices.Equal(got, []string{"b", "c"}) {
				t.Fatal(got, err)
			}
			write(t, w, kgo.TryAbort, "z")
			write(t, w, kgo.TryCommit, "d")
			if got, err := r.values(1); err != nil || !slices.Equal(got, []string{"d"}) {
				t.Fatal(got, err)
			}
		})
	}
}

func TestSessionHandsOverTheWholeRecord(t *testing.T) {
	c := fakeCluster(t, kfake.DefaultNumPartitions(1))
	w := writer(t, c, kgo.NoCompression())
	write(t, w, kgo.TryCommit, "a")
	r := openSession(t, c)
	for ctx := soon(t); ctx.Err() == nil; {
		columns, err := r.poll()
		if err != nil {
			t.Fatal(err)
		}
		if len(columns) == 0 {
			continue
		}
		got := columns[0]
		if h := got.Headers; len(h) != 1 || len(h[0]) != 1 || h[0][0].Key != "as" || string(h[0][0].Value) != "a" {
			t.Errorf("headers %v", h)
		}
		if got.Keys[0] != nil || string(got.Values[0]) != "a" || got.Timestamps[0] <= 0 {
			t.Errorf("got %+v", got)
		}
		if got.Next != 2 || !got.AtEnd() || got.Stable != 2 || got.HighWatermark != 2 {
			t.Errorf("next %d of %d stable, %d in all: the marker was not passed", got.Next, got.Stable, got.HighWatermark)
		}
		return
	}
	t.Fatal("no record came")
}

// A poll's limit cuts what one answer brought, and nothing is lost at the cut.
func TestSessionTakesALittleAtATime(t *testing.T) {
	c := fakeCluster(t)
	const n = 500
	send(t, c, clicks, n)
	r := openSession(t, c)
	got, err := r.values(n)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != n {
		t.Errorf("%d different records of %d", len(got), n)
	}
}

func TestSessionPauses(t *testing.T) {
	c := fakeCluster(t, kfake.DefaultNumPartitions(1))
	send(t, c, clicks, 30)
	r := openSession(t, c)
	if _, err := r.values(1); err != nil { // the rest is fetched already
		t.Fatal(err)
	}
	at := r.next[first]
	r.Pause(r.partitions())
	if columns, err := r.poll(); len(columns) > 0 || err != nil {
		t.Fatalf("a paused partition handed over %d columns, %v", len(columns), err)
	}
	r.Resume(r.partitions())
	if _, err := r.values(30 - int(at)); err != nil || r.next[first] != 30 {
		t.Fatalf("at %d, %v", r.next[first], err)
	}
}

func TestSessionWakes(t *testing.T) {
	c := fakeCluster(t)
	send(t, c, clicks, 1)
	r := openSession(t, c)
	if _, err := r.values(1); err != nil {
		t.Fatal(err)
	}
	r.Wake()
	began := time.Now()
	if columns, err := r.Poll(soon(t), time.Hour, 1); len(columns) > 0 || err != nil || time.Since(began) > 10*time.Second {
		t.Fatal(columns, err, time.Since(began))
	}
}

// A batch that is damaged on its way or on the broker's disk ends its partition
// behind the good batches before it.
func TestSessionReportsDamage(t *testing.T) {
	good := batchOf(t, 0, "a", "b")
	bad := batchOf(t, 2, "c")
	bad[len(bad)-2] ^= 1
	for name, answer := range map[string]struct {
		bytes []byte
		code  int16 // of the second answer
	}{
		"a bit has tipped":    {bytes: append(slices.Clone(good), bad...)},
		"no batch":            {bytes: append(slices.Clone(good), make([]byte, 100)...)},
		"found by the broker": {bytes: good, code: kerr.CorruptMessage.Code},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, c := controlled(t)
			send(t, c, clicks, 1)
			cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
				cluster.KeepControl()
				response, asked := answerTo(req.(*kmsg.FetchRequest))
				partition := &response.Topics[0].Partitions[0]
				if asked.FetchOffset == 0 {
					partition.RecordBatches = answer.bytes
				} else {
					partition.ErrorCode = answer.code
				}
				return response, nil, true
			})
			r := openSession(t, c)
			got, err := r.values(3)
			if damage, ok := errors.AsType[client.CorruptError](err); !ok || damage.TopicPartition != first {
				t.Fatalf("got %v", err)
			}
			if !slices.Equal(got, []string{"a", "b"}) || r.next[first] != 2 {
				t.Errorf("before the damage came %q, next is %d", got, r.next[first])
			}
		})
	}
}

func controlled(t *testing.T) (*kfake.Cluster, client.Config) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return cluster, client.Config{Brokers: cluster.ListenAddrs()}
}

// answerTo is an empty answer for the one partition that is asked for.
func answerTo(fetch *kmsg.FetchRequest) (*kmsg.FetchResponse, kmsg.FetchRequestTopicPartition) {
	response := fetch.ResponseKind().(*kmsg.FetchResponse)
	topic := kmsg.NewFetchResponseTopic()
	topic.Topic, topic.TopicID = fetch.Topics[0].Topic, fetch.Topics[0].TopicID
	partition := kmsg.NewFetchResponseTopicPartition()
	partition.HighWatermark, partition.LastStableOffset = 10, 10
	topic.Partitions = append(topic.Partitions, partition)
	response.Topics = append(response.Topics, topic)
	return response, fetch.Topics[0].Partitions[0]
}

func batchOf(t *testing.T, base record.Offset, values ...string) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
	for _, v := range values {
		b.Append(1, nil, []byte(v), nil)
	}
	whole, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	batch.SetBaseOffset(whole, base)
	return slices.Clone(whole)
}

func TestSessionReportsALostPosition(t *testing.T) {
	c := fakeCluster(t, kfake.DefaultNumPartitions(1))
	send(t, c, clicks, 10)
	admin := newAdmin(t, c)
	if err := admin.DeleteRecords(soon(t), map[record.TopicPartition]record.Offset{first: 5}); err != nil {
		t.Fatal(err)
	}
	r := openSession(t, c)
	_, err := r.values(1)
	if lost, ok := errors.AsType[*client.PositionError](err); !ok || lost.TopicPartition != first || lost.Wanted != 0 {
		t.Fatalf("got %v", err)
	}
	r.from(5)
	if got, err := r.values(5); err != nil || got[0] != "value 5" {
		t.Fatal(got, err)
	}
}

func TestSessionReportsADeletedTopic(t *testing.T) {
	for name, anew := range map[string]bool{"deleted": false, "created anew": true} {
		t.Run(name, func(t *testing.T) {
			c := fakeCluster(t, kfake.DefaultNumPartitions(1))
			send(t, c, clicks, 10)
			r := openSession(t, c)
			if _, err := r.values(10); err != nil {
				t.Fatal(err)
			}
			deleteTopic(t, c, clicks)
			if anew {
				send(t, c, clicks, 20)
			}
			_, err := r.values(1)
			if unknown, ok := errors.AsType[client.UnknownTopicError](err); !ok || unknown.Topic != clicks {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func deleteTopic(t *testing.T, c client.Config, topic record.Topic) {
	t.Helper()
	raw, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames = []string{string(topic)}
	one := kmsg.NewDeleteTopicsRequestTopic()
	one.Topic = kmsg.StringPtr(string(topic))
	request.Topics = append(request.Topics, one)
	if _, err := request.RequestWith(soon(t), raw); err != nil {
		t.Fatal(err)
	}
}

// Leaders move while records are read, and franz-go itself fetches nothing.
func TestSessionFollowsLeaders(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	c := client.Config{Brokers: cluster.ListenAddrs()}
	var foreign atomic.Int32
	cluster.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if req.(*kmsg.FetchRequest).MaxBytes > 4<<20 {
			foreign.Add(1)
		}
		return nil, nil, false
	})
	w := writer(t, c, kgo.NoCompression())
	write(t, w, kgo.TryCommit, "0")
	r := openSession(t, c)
	if _, err := r.values(1); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 7; i++ {
		if err := cluster.MoveTopicPartition(string(clicks), 0, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		value := fmt.Sprint(i)
		write(t, w, kgo.TryCommit, value)
		if got, err := r.values(1); err != nil || got[0] != value {
			t.Fatal(got, err)
		}
	}
	if n := foreign.Load(); n > 0 {
		t.Errorf("franz-go fetched %d times", n)
	}
}

// What this group has counted and the leader does not have any more is reported.
func TestSessionNoticesLostRecords(t *testing.T) {
	cluster, c := controlled(t)
	send(t, c, clicks, 5)
	cluster.ControlKey(int16(kmsg.OffsetForLeaderEpoch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		asked := req.(*kmsg.OffsetForLeaderEpochRequest)
		response := asked.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = string(clicks)
		partition := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
		partition.EndOffset, partition.LeaderEpoch = 2, 0
		topic.Partitions = append(topic.Partitions, partition)
		response.Topics = append(response.Topics, topic)
		return response, nil, true
	})
	r := openSession(t, c)
	if _, err := r.values(5); err != nil {
		t.Fatal(err)
	}
	r.Rewind(map[record.TopicPartition]client.Position{first: {Offset: 4, LeaderEpoch: 0}})
	_, err := r.values(1)
	if lost, ok := errors.AsType[*client.PositionError](err); !ok || lost.Wanted != 4 {
		t.Fatalf("got %v", err)
	}
	var loss *kgo.ErrDataLoss
	if !errors.As(err, &loss) || loss.ResetTo != 2 {
		t.Fatalf("got %v", err)
	}
}

func TestSessionEndsWhilePolling(t *testing.T) {
	c := fakeCluster(t)
	send(t, c, clicks, 1)
	r := openSession(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Poll(ctx, time.Hour, 1); err != nil {
		t.Fatal(err)
	}
}
