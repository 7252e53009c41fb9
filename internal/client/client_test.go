package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"
	"go.uber.org/goleak"

	"millrace/internal/client"
	"millrace/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const clicks = record.Topic("clicks")

// fakeCluster starts Kafka's stand-in and returns a Config that reaches it.
func fakeCluster(t *testing.T, opts ...kfake.Opt) client.Config {
	t.Helper()
	defaults := []kfake.Opt{kfake.NumBrokers(1), kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(3)}
	cluster, err := kfake.NewCluster(append(defaults, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return client.Config{Brokers: cluster.ListenAddrs()}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func newAdmin(t *testing.T, c client.Config) *client.Admin {
	t.Helper()
	admin, err := client.NewAdmin(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admin.Close)
	return admin
}

// send delivers n records to topic, keyed by their number.
func send(t *testing.T, c client.Config, topic record.Topic, n int) {
	t.Helper()
	producer, err := client.NewProducer(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for i := range n {
		r := record.Record{TopicPartition: record.TopicPartition{Topic: topic}, Key: fmt.Append(nil, i), Value: fmt.Append(nil, "value ", i)}
		if err := producer.Send(soon(t), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := producer.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	if d := producer.Delivered(); d.Acked != int64(n) || d.Failed != 0 {
		t.Fatalf("delivered %+v, want %d acknowledged", d, n)
	}
}

func newConsumer(t *testing.T, c client.Config, s client.Subscription) *client.Consumer {
	t.Helper()
	consumer, err := client.NewConsumer(c, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(consumer.Close)
	return consumer
}

// read polls until n records have come and returns their values by partition.
func read(t *testing.T, consumer *client.Consumer, n int) map[record.Partition][]string {
	t.Helper()
	values := make(map[record.Partition][]string)
	for seen := 0; seen < n; {
		batches, err := consumer.Poll(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range batches {
			for _, r := range b.Records {
				values[b.Partition] = append(values[b.Partition], string(r.Value))
				seen++
			}
			if last := b.Records[len(b.Records)-1]; b.Next != last.Offset+1 {
				t.Fatalf("batch of %s ends at offset %d, next is %d", b.TopicPartition, last.Offset, b.Next)
			}
		}
	}
	return values
}

func count(values map[record.Partition][]string) (sum int) {
	for _, v := range values {
		sum += len(v)
	}
	return sum
}

func TestConsumerHandsOverWholePartitionsInOrder(t *testing.T) {
	c := fakeCluster(t)
	send(t, c, clicks, 100)
	values := read(t, newConsumer(t, c, client.Subscription{Topics: []record.Topic{clicks}}), 100)
	if len(values) != 3 || count(values) != 100 {
		t.Fatalf("got %d records in %d partitions, want 100 in 3", count(values), len(values))
	}
	for p, got := range values {
		inOrder := slices.IsSortedFunc(got, func(a, b string) int { return len(a) - len(b) })
		if !inOrder {
			t.Errorf("partition %d is out of order: %q", p, got)
		}
	}
}

func TestConsumerSeesATopicThatIsCreatedLater(t *testing.T) {
	c := fakeCluster(t)
	consumer := newConsumer(t, c, client.Subscription{Topics: []record.Topic{clicks}})
	if err := newAdmin(t, c).CreateTopic(soon(t), client.TopicSpec{Name: clicks, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	send(t, c, clicks, 5)
	read(t, consumer, 5)
}

func TestConsumerReportsADeletedTopic(t *testing.T) {
	for name, version := range map[string]*kversion.Versions{"with topic IDs": kversion.Stable(), "without": kversion.V2_7_0()} {
		t.Run(name, func(t *testing.T) {
			c := fakeCluster(t, kfake.MaxVersions(version))
			send(t, c, clicks, 10)
			consumer := newConsumer(t, c, client.Subscription{Topics: []record.Topic{clicks}})
			read(t, consumer, 10)
			if err := newAdmin(t, c).DeleteTopic(soon(t), clicks); err != nil {
				t.Fatal(err)
			}
			_, err := consumer.Poll(soon(t))
			if unknown, ok := errors.AsType[client.UnknownTopicError](err); !ok || unknown.Topic != clicks {
				t.Fatalf("after the topic was deleted Poll said: %v", err)
			}
		})
	}
}

func TestStartPositions(t *testing.T) {
	c := fakeCluster(t, kfake.DefaultNumPartitions(1))
	send(t, c, clicks, 10)
	middle := time.Now().Add(time.Hour)
	for _, test := range []struct {
		name string
		from client.Start
		want int
	}{
		{"beginning", client.FromBeginning(), 10},
		{"offset", client.FromOffset(7), 3},
		{"last", client.FromLast(4), 4},
		{"time of all", client.FromTime(time.Unix(0, 0)), 10},
		{"offset beyond the end is the end", client.FromOffset(99), 0},
		{"time beyond the end is the end", client.FromTime(middle), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			consumer := newConsumer(t, c, client.Subscription{Topics: []record.Topic{clicks}, From: test.from})
			if test.want > 0 {
				if got := count(read(t, consumer, test.want)); got != test.want {
					t.Fatalf("read %d records, want %d", got, test.want)
				}
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if batches, err := consumer.Poll(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %d batches and %v, want nothing", len(batches), err)
			}
		})
	}
}

func TestGroupGoesOnWhereItCommitted(t *testing.T) {
	c := fakeCluster(t)
	c.Group = "click_counter_group"
	send(t, c, clicks, 20)
	first, err := client.NewConsumer(c, client.Subscription{Topics: []record.Topic{clicks}})
	if err != nil {
		t.Fatal(err)
	}
	read(t, first, 20)
	if err := first.Commit(soon(t)); err != nil {
		t.Fatal(err)
	}
	first.Close()
	send(t, c, clicks, 7)
	second := newConsumer(t, c, client.Subscription{Topics: []record.Topic{clicks}})
	if got := count(read(t, second, 7)); got != 7 {
		t.Errorf("the second member read %d records, want the 7 new ones", got)
	}
}

func TestProducerGivesUpWithReason(t *testing.T) {
	c := fakeCluster(t)
	c.BatchBytes = 600
	var refused []record.Record
	done := make(chan struct{})
	producer, err := client.NewProducer(c, func(r record.Record, _ error) {
		refused = append(refused, r)
		close(done)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	big := record.Record{TopicPartition: record.TopicPartition{Topic: clicks}, Value: make([]byte, 10_000)}
	if err := producer.Send(soon(t), big); err != nil {
		t.Fatal(err)
	}
	<-done
	d := producer.Delivered()
	if d.Failed != 1 || d.Acked != 0 || !errors.Is(d.First, client.ErrRefused) || len(refused) != 1 {
		t.Errorf("delivered %+v, want one refused record", d)
	}
}

func TestRecordsThatNobodyTakesTimeOut(t *testing.T) {
	c := client.Config{Brokers: []string{"127.0.0.1:1"}, DeliveryTimeout: time.Second, DialTimeout: 100 * time.Millisecond}
	producer, err := client.NewProducer(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	if err := producer.Send(soon(t), record.Record{TopicPartition: record.TopicPartition{Topic: clicks}, Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := producer.Flush(soon(t)); err != nil {
		t.Fatal(err)
	}
	if d := producer.Delivered(); d.Failed != 1 || !errors.Is(d.First, client.ErrTimedOut) {
		t.Errorf("delivered %+v, want one that timed out", d)
	}
}

func TestFullBufferWaitsUntilTheContextEnds(t *testing.T) {
	c := client.Config{Brokers: []string{"127.0.0.1:1"}, BufferBytes: 1024, BatchBytes: 512}
	producer, err := client.NewProducer(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	r := record.Record{TopicPartition: record.TopicPartition{Topic: clicks}, Value: make([]byte, 400)}
	for i := range 2 {
		if err := producer.Send(soon(t), r); err != nil {
			t.Fatalf("record %d of 400 bytes into 1024 bytes: %v", i, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := producer.Send(ctx, r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third record of 400 bytes into 1024 bytes: %v", err)
	}
}

// TestKeyedRecordsGoWhereKafkaPutsThem uses the vectors of Kafka's own
// UtilsTest.testMurmur2; Kafka drops the sign bit and takes the remainder.
func TestKeyedRecordsGoWhereKafkaPutsThem(t *testing.T) {
	const partitions = 7
	c := fakeCluster(t, kfake.DefaultNumPartitions(partitions))
	vectors := map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536,
		"a-little-bit-longer-string": -1486304829, "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	}
	producer, err := client.NewProducer(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for key := range vectors {
		if err := producer.Send(soon(t), record.Record{TopicPartition: record.TopicPartition{Topic: clicks}, Key: []byte(key), Value: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	values := read(t, newConsumer(t, c, client.Subscription{Topics: []record.Topic{clicks}}), len(vectors))
	for p, keys := range values {
		for _, key := range keys {
			if want := record.Partition((vectors[key] & 0x7fffffff) % partitions); p != want {
				t.Errorf("key %q is in partition %d, want %d", key, p, want)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	c := fakeCluster(t)
	if err := client.Check(soon(t), c); err != nil {
		t.Errorf("a live cluster: %v", err)
	}
	err := client.Check(soon(t), client.Config{Brokers: []string{"127.0.0.1:1"}})
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("nobody listens, but: %v", err)
	}
}

func TestSASL(t *testing.T) {
	c := fakeCluster(t, kfake.EnableSASL(), kfake.Superuser("PLAIN", "ana", "secret"))
	for _, line := range []struct{ key, value string }{
		{"security.protocol", "SASL_PLAINTEXT"},
		{"sasl.mechanism", "PLAIN"},
		{"sasl.jaas.config", `org.apache.kafka.common.security.plain.PlainLoginModule required username="ana" password="secret";`},
	} {
		if err := c.Set(line.key, line.value); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Check(soon(t), c); err != nil {
		t.Errorf("right password: %v", err)
	}
	c.Security.Password = "wrong"
	if err := client.Check(soon(t), c); !errors.Is(err, client.ErrNotAuthorized) {
		t.Errorf("wrong password: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", c, c.Security, c.Security); strings.Contains(text, "wrong") {
		t.Errorf("the password is printed: %s", text)
	}
}
