package suite

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

const tools = "org.apache.kafka.tools."

// tool returns the command line of one of Kafka's own tools, by its class.
func tool(t *testing.T, name string, args ...string) []string {
	t.Helper()
	java, classPath, err := foreign.Kafka()
	if err != nil {
		leaveOut(t, "Kafka's "+name, err)
	}
	if !strings.HasPrefix(name, "kafka.") {
		name = tools + name
	}
	return append([]string{java, "-Xmx512m", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classPath, name}, args...)
}

// TestJavaPerformance sends and reads 200,000 records with the JVM's own load
// tools, idempotent and with acks=all as is Java's default, per codec.
func TestJavaPerformance(t *testing.T) {
	const count = 200_000
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			b, topic := sharedBroker(t), newTopic(t)
			sent := output(t, 2*soon, tool(t, "ProducerPerformance", "--bootstrap-server", b.Addr, "--topic", topic,
				"--num-records", strconv.Itoa(count), "--record-size", "62", "--throughput", "-1",
				"--command-property", "acks=all", "linger.ms=5", "compression.type="+codec)...)
			if !strings.Contains(sent, fmt.Sprintf("%d records sent", count)) {
				t.Errorf("ProducerPerformance says:\n%s", tail(sent))
			}
			if records, _ := checkCodec(t, b, topic, codec); records != count {
				t.Errorf("%d records are stored, want %d", records, count)
			}
			read := output(t, 2*soon, tool(t, "ConsumerPerformance", "--bootstrap-server", b.Addr, "--topic", topic,
				"--num-records", strconv.Itoa(count), "--hide-header", "--timeout", "20000")...)
			// start, end, MB, MB/s, records, …
			fields := strings.Split(tail(read), ", ")
			if len(fields) < 5 || fields[4] != strconv.Itoa(count) {
				t.Errorf("ConsumerPerformance says:\n%s", tail(read))
			}
		})
	}
}

// TestJavaVerifiable runs the pair of Kafka's own system tests: what the
// producer says was acknowledged lies in the log, and a group reads all of it.
func TestJavaVerifiable(t *testing.T) {
	const count = 2000
	b, topic := sharedBroker(t), newTopic(t)
	sent := output(t, 2*soon, tool(t, "VerifiableProducer", "--bootstrap-server", b.Addr, "--topic", topic,
		"--max-messages", strconv.Itoa(count))...)
	if n := strings.Count(sent, `"name":"producer_send_success"`); n != count {
		t.Errorf("%d of %d sends were acknowledged:\n%s", n, count, tail(sent))
	}
	checkVerifiable(t, b, topic, count)
	read := output(t, 2*soon, tool(t, "VerifiableConsumer", "--bootstrap-server", b.Addr, "--topic", topic,
		"--group-id", topic+"-group", "--max-messages", strconv.Itoa(count))...)
	total := 0
	for _, m := range regexp.MustCompile(`"name":"records_consumed","count":(\d+)`).FindAllStringSubmatch(read, -1) {
		n, _ := strconv.Atoi(m[1])
		total += n
	}
	if total != count {
		t.Errorf("VerifiableConsumer read %d records, want %d:\n%s", total, count, tail(read))
	}
	if strings.Contains(read, `"success":false`) {
		t.Errorf("an offset commit failed:\n%s", tail(read))
	}
}

// checkVerifiable checks that the log holds the integers below count once each.
func checkVerifiable(t *testing.T, b *target.Broker, topic string, count int) {
	t.Helper()
	seen := make([]int, count)
	conn := dial(t, b)
	partitions, err := conn.Partitions(topic)
	if err != nil {
		t.Fatal(err)
	}
	for p := range int32(partitions) {
		err := conn.ReadAll(topic, p, 0, func(batch probe.Batch) error {
			records, err := batch.Records()
			for _, r := range records {
				n, err := strconv.Atoi(string(r.Value))
				if err != nil || n < 0 || n >= count {
					return fmt.Errorf("offset %d holds %q", r.Offset, r.Value)
				}
				seen[n]++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var wrong complaints
	for n, times := range seen {
		if times != 1 {
			wrong.add("the value %d is stored %d times", n, times)
		}
	}
	wrong.report(t)
}

// TestJavaMembers shares a topic between two Java members, kills one, and
// waits until the other has all partitions; then the same with static members,
// where a restart must not rebalance.
func TestJavaMembers(t *testing.T) {
	b := sharedBroker(t)
	member := func(t *testing.T, topic, instance string, session time.Duration) *program {
		args := []string{"--bootstrap-server", b.Addr, "--topic", topic, "--group-id", topic + "-group",
			"--session-timeout", strconv.Itoa(int(session.Milliseconds()))}
		if instance != "" {
			args = append(args, "--group-instance-id", instance)
		}
		return start(t, nil, tool(t, "VerifiableConsumer", args...)...)
	}
	assigned := func(n int) func(event) bool {
		return func(e event) bool { return e.Name == "partitions_assigned" && len(e.Partitions) == n }
	}
	pair := func(t *testing.T, session time.Duration, instances [2]string) (topic string, one, two *program) {
		topic = newTopic(t)
		if err := dial(t, b).CreateTopic(topic, 4); err != nil {
			t.Fatal(err)
		}
		one = member(t, topic, instances[0], session)
		one.until(t, soon, "assignment of all 4 partitions", assigned(4))
		two = member(t, topic, instances[1], session)
		one.until(t, soon, "assignment of 2 partitions", assigned(2))
		two.until(t, soon, "assignment of 2 partitions", assigned(2))
		return topic, one, two
	}
	t.Run("killed", func(t *testing.T) {
		_, one, two := pair(t, session, [2]string{})
		one.kill()
		two.until(t, soon, "assignment of all 4 partitions", assigned(4))
	})
	t.Run("static", func(t *testing.T) {
		topic, one, two := pair(t, 30*time.Second, [2]string{"one", "two"})
		one.kill()
		again := member(t, topic, "one", 30*time.Second)
		again.until(t, soon, "assignment of its 2 partitions", assigned(2))
		two.quiet(t, 4*time.Second, "a static member's restart must not rebalance the other",
			func(e event) bool { return e.Name == "partitions_assigned" || e.Name == "partitions_revoked" })
	})
}

// complaint is what kafka-dump-log says of a file it finds wrong. It also says
// that "-1 is followed by" the first offset of every segment but the first.
var complaint = regexp.MustCompile(`isvalid: false|[Mm]ismatch|\n\s+\d+ is followed by|Out of order|Exception|invalid`)

// TestDumpLog lets Kafka's kafka-dump-log read every file of a partition that
// several clients wrote, and the committed offsets of a group.
func TestDumpLog(t *testing.T) {
	b, topic := ownBroker(t, target.Options{}), newTopic(t)
	if err := dial(t, b).CreateTopic(topic, 1, "segment.bytes", "1048576"); err != nil {
		t.Fatal(err)
	}
	const count = 50_000
	for _, codec := range []string{"none", "gzip"} {
		output(t, 2*soon, tool(t, "ProducerPerformance", "--bootstrap-server", b.Addr, "--topic", topic,
			"--num-records", strconv.Itoa(count), "--record-size", "100", "--throughput", "-1",
			"--command-property", "compression.type="+codec)...)
	}
	output(t, 2*soon, tool(t, "ConsumerPerformance", "--bootstrap-server", b.Addr, "--topic", topic,
		"--num-records", strconv.Itoa(2*count), "--group", topic+"-group", "--timeout", "20000")...)
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	segments := logFiles(t, b, topic+"-0", ".log")
	if len(segments) < 3 {
		t.Errorf("%d segments of 1 MiB for 10 MB of records", len(segments))
	}
	dumped := dump(t, strings.Join(segments, ","), "--deep-iteration")
	if n := strings.Count(dumped, "\n| offset: "); n != 2*count {
		t.Errorf("kafka-dump-log found %d records, want %d", n, 2*count)
	}
	for _, suffix := range []string{".index", ".timeindex"} {
		for _, file := range logFiles(t, b, topic+"-0", suffix) {
			dump(t, file, "--index-sanity-check")
			dump(t, file, "--verify-index-only")
		}
	}
	snapshots := logFiles(t, b, topic+"-0", ".snapshot")
	producers := map[string]bool{} // Millrace keeps several batches of each
	out := dump(t, snapshots[len(snapshots)-1])
	for _, m := range regexp.MustCompile(`producerId: (\d+)`).FindAllStringSubmatch(out, -1) {
		producers[m[1]] = true
	}
	if len(producers) != 2 {
		t.Errorf("the last snapshot should name 2 producers:\n%s", tail(out))
	}
	checkOffsetsTopic(t, b, topic+"-group")
}

// dump is what kafka-dump-log says of files, separated by commas. A complaint in
// it fails the test.
func dump(t *testing.T, files string, args ...string) string {
	t.Helper()
	out := output(t, 2*soon, tool(t, "DumpLogSegments", append([]string{"--files", files}, args...)...)...)
	if said := complaint.FindString(out); said != "" {
		t.Errorf("kafka-dump-log of %s says %q:\n%s", filepath.Base(files), said, tail(out))
	}
	return out
}

// dumpAll is dump of every log of the partitions that a pattern names.
func dumpAll(t *testing.T, b *target.Broker, partitions string, args ...string) string {
	t.Helper()
	return dump(t, strings.Join(logFiles(t, b, partitions, ".log"), ","), args...)
}

// checkOffsetsTopic looks for the group in some partition of
// __consumer_offsets, through Kafka's own decoder.
func checkOffsetsTopic(t *testing.T, b *target.Broker, group string) {
	t.Helper()
	commit := regexp.MustCompile(`"group":"` + regexp.QuoteMeta(group) + `".*"offset":\d+`)
	if out := dumpAll(t, b, "__consumer_offsets-*", "--offsets-decoder"); !commit.MatchString(out) {
		t.Errorf("no offset commit of group %s in __consumer_offsets:\n%s", group, tail(out))
	}
}
