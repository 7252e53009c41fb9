package suite

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/compat/history"
	"millrace/compat/probe"
	"millrace/compat/target"
	"millrace/compat/txntest"
)

// admin runs one of Kafka's command-line tools to its end, with the arguments
// and the broker's address.
func admin(t *testing.T, b *target.Broker, name string, args ...string) string {
	t.Helper()
	return output(t, soon, tool(t, name, append([]string{"--bootstrap-server", b.Addr}, args...)...)...)
}

// The tools by the names of their scripts.
const (
	kafkaConfigs        = "kafka.admin.ConfigCommand"
	kafkaConsumerGroups = "consumer.group.ConsumerGroupCommand"
	kafkaTransactions   = "TransactionsCommand"
)

// says fails the test unless a tool's output matches.
func says(t *testing.T, out, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(out) {
		t.Errorf("want %s in:\n%s", pattern, tail(out))
	}
}

// TestKafkaTransactions finds a transaction whose client is gone with
// kafka-transactions, and ends it.
func TestKafkaTransactions(t *testing.T) {
	b, topic := sharedBroker(t), newTopic(t)
	needs(t, b, endTxn, "kafka-transactions")
	conn := dial(t, b)
	if err := conn.CreateTopic(topic, 2); err != nil {
		t.Fatal(err)
	}
	hang(t, b, topic)
	says(t, admin(t, b, kafkaTransactions, "list"), topic+`\s+\d+\s+\d+\s+Ongoing`)
	described := admin(t, b, kafkaTransactions, "describe", "--transactional-id", topic)
	says(t, described, topic+`\s+\d+\s+\d+\s+Ongoing`)
	says(t, described, topic+`-0,`+topic+`-1|`+topic+`-1,`+topic+`-0`)
	producers := admin(t, b, kafkaTransactions, "describe-producers", "--topic", topic, "--partition", "0")
	found := regexp.MustCompile(`(?m)^(\d+)\s+(\d+)\s+\S+\s+\S+\s+\S+\s+(\d+)\s*$`).FindStringSubmatch(producers)
	if found == nil {
		t.Fatalf("no open transaction in:\n%s", producers)
	}
	if found[3] != "0" {
		t.Errorf("the transaction begins at %s, want 0", found[3])
	}
	admin(t, b, kafkaTransactions, "abort", "--topic", topic, "--partition", "0", "--start-offset", found[3])
	if err := conn.AwaitStable(topic, 0, soon); err != nil {
		t.Error(err)
	}
	if err := conn.AwaitStable(topic, 1, 0); err == nil {
		t.Error("the abort of partition 0 ended the transaction in partition 1 too")
	}
	admin(t, b, kafkaTransactions, "forceTerminateTransaction", "--transactionalId", topic)
	if err := conn.AwaitStable(topic, 1, soon); err != nil {
		t.Error(err)
	}
	says(t, admin(t, b, kafkaTransactions, "list"), topic+`\s+\d+\s+\d+\s+(CompleteAbort|Empty)`)
}

// hang leaves a transaction open on two partitions.
func hang(t *testing.T, b *target.Broker, topic string) {
	t.Helper()
	p, err := txntest.Libraries()[0].Open(t.Context(), b.Addr, topic, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = p.Send(t.Context(), []txntest.Record{
		{Partition: history.Partition{Topic: topic, Index: 0}, Value: []byte("open")},
		{Partition: history.Partition{Topic: topic, Index: 1}, Value: []byte("open")},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestKafkaConsumerGroups looks at a group, moves its offset and deletes it.
func TestKafkaConsumerGroups(t *testing.T) {
	b, topic := sharedBroker(t), newTopic(t)
	group := topic + "-group"
	if err := dial(t, b).CreateTopic(topic, 1); err != nil {
		t.Fatal(err)
	}
	const count = 50
	clients[0].produce(t, b, topic, 0, count, 0).finish(t, soon)
	clients[0].consume(t, b, topic, group, count, 0, "-").finish(t, soon)
	says(t, admin(t, b, kafkaConsumerGroups, "--list"), `(?m)^`+group+`$`)
	says(t, admin(t, b, kafkaConsumerGroups, "--describe", "--group", group), fmt.Sprintf(`%s\s+%s\s+0\s+%d\s+%d\s+0\s`, group, topic, count, count))
	says(t, admin(t, b, kafkaConsumerGroups, "--describe", "--group", group, "--state"), `Empty`)
	says(t, admin(t, b, kafkaConsumerGroups, "--group", group, "--topic", topic, "--reset-offsets", "--to-earliest", "--execute"), topic+`\s+0\s+0`)
	if offset, err := dial(t, b).Committed(group, topic, 0); err != nil || offset != 0 {
		t.Errorf("the group's offset is %d (%v) after the reset, want 0", offset, err)
	}
	says(t, admin(t, b, kafkaConsumerGroups, "--delete", "--group", group), `successful`)
	if out := admin(t, b, kafkaConsumerGroups, "--list"); strings.Contains(out, group) {
		t.Errorf("the group is still there:\n%s", tail(out))
	}
}

// TestKafkaConfigs sets, shows and removes a topic's configs, and is refused one
// that does not exist.
func TestKafkaConfigs(t *testing.T) {
	b, topic := sharedBroker(t), newTopic(t)
	if err := dial(t, b).CreateTopic(topic, 1); err != nil {
		t.Fatal(err)
	}
	entity := []string{"--entity-type", "topics", "--entity-name", topic}
	admin(t, b, kafkaConfigs, append(entity, "--alter", "--add-config",
		"cleanup.policy=[compact,delete],retention.ms=86400000,min.cleanable.dirty.ratio=0.2,delete.retention.ms=5000")...)
	shown := admin(t, b, kafkaConfigs, append(entity, "--describe")...)
	for _, config := range []string{"cleanup.policy=compact,delete", "retention.ms=86400000", "min.cleanable.dirty.ratio=0.2", "delete.retention.ms=5000"} {
		says(t, shown, regexp.QuoteMeta(config)+` sensitive=false`)
	}
	admin(t, b, kafkaConfigs, append(entity, "--alter", "--delete-config", "retention.ms")...)
	refused := failing(t, b, kafkaConfigs, append(entity, "--alter", "--add-config", "retention.mss=1")...)
	says(t, refused, `InvalidConfig|retention\.mss|Unknown`)
	shown = admin(t, b, kafkaConfigs, append(entity, "--describe")...)
	if strings.Contains(shown, " retention.ms=86400000") || strings.Contains(shown, "retention.mss") {
		t.Errorf("after the removal and the refusal:\n%s", tail(shown))
	}
	says(t, shown, `cleanup.policy=compact,delete`)
}

// TestCompactedTopic overwrites few keys many times in a compacted topic, waits
// for the cleaner, and compares what is left; kafka-dump-log reads the files.
func TestCompactedTopic(t *testing.T) {
	const keys, rounds = 20, 400
	b, topic := ownBroker(t, target.Options{Properties: []string{"log.cleaner.backoff.ms=500"}}), newTopic(t)
	conn := dial(t, b)
	err := conn.CreateTopic(topic, 1, "cleanup.policy", "compact", "segment.bytes", "1048576",
		"min.cleanable.dirty.ratio", "0.01", "delete.retention.ms", "100")
	if err != nil {
		leaveOut(t, "compaction", err)
	}
	if err := conn.AwaitLeaders(topic, 1); err != nil {
		t.Fatal(err)
	}
	offset := int64(0)
	last, filler := map[string]string{}, strings.Repeat("x", 500)
	for round := range rounds {
		var records []probe.Record
		for key := range keys {
			k, v := fmt.Sprintf("key-%d", key), fmt.Sprintf("value-%d-%d-%s", key, round, filler)
			records = append(records, probe.Record{Key: []byte(k), Value: []byte(v)})
			last[k] = v
		}
		base, err := conn.Produce(topic, 0, -1, probe.BuildKeyed(records))
		if err != nil || base != offset {
			t.Fatalf("round %d is at %d (%v), want %d", round, base, err, offset)
		}
		offset += keys
	}
	stored := awaitCompacted(t, conn, topic, keys*rounds/2)
	for k, v := range last {
		if stored[k] != v {
			t.Errorf("%s is %.20s after compaction, want %.20s", k, stored[k], v)
		}
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	dumpAll(t, b, topic+"-0", "--deep-iteration")
	for _, file := range logFiles(t, b, topic+"-0", ".index") {
		dump(t, file, "--index-sanity-check")
	}
}

// awaitCompacted waits until at most so many records are left, and returns the
// last value of each key. Offsets have to rise, and the end must stay.
func awaitCompacted(t *testing.T, conn *probe.Conn, topic string, atMost int) map[string]string {
	t.Helper()
	for deadline := time.Now().Add(2 * soon); ; time.Sleep(100 * time.Millisecond) {
		values, n, before := map[string]string{}, 0, int64(-1)
		err := conn.ReadAll(topic, 0, 0, func(batch probe.Batch) error {
			records, err := batch.Records()
			for _, r := range records {
				if r.Offset <= before {
					return fmt.Errorf("offset %d follows %d", r.Offset, before)
				}
				before = r.Offset
				values[string(r.Key)] = string(r.Value)
				n++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n <= atMost {
			t.Logf("%d records are left, up to offset %d", n, before)
			return values
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s records are left after %s, want at most %d", strconv.Itoa(n), 2*soon, atMost)
		}
	}
}
