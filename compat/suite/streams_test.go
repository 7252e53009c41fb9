package suite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/probe"
	"millrace/compat/target"
)

// streams starts the Kafka Streams count of clients/java.
func streams(t *testing.T, b *target.Broker, dir, input, output string, more ...string) *program {
	t.Helper()
	java, classPath, err := foreign.Streams()
	if err != nil {
		leaveOut(t, "Kafka Streams", err)
	}
	argv := append([]string{java, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", classPath, "Count", "brokers=" + b.Addr, "input=" + input, "output=" + output, "id=" + output + "-app", "dir=" + dir,
		"cache=1048576"}, more...)
	return start(t, nil, argv...)
}

func running(e event) bool { return e.State == "RUNNING" }

// TestKafkaStreams counts clicks per user with exactly_once_v2, re-keyed through
// a repartition topic, while job and broker are killed in turn. Every user's
// last count is exact, and every count that was committed on the way is larger
// than the one before it.
func TestKafkaStreams(t *testing.T) {
	const users, perRound, rounds = 50, 2000, 5
	b, input := ownBroker(t, target.Options{}), newTopic(t)
	needs(t, b, endTxn, "Kafka Streams")
	output, dir := input+"-counts", filepath.Join(t.TempDir(), "state")
	conn := dial(t, b)
	for _, topic := range []string{input, output} {
		if err := conn.CreateTopic(topic, 4); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	want := map[string]int{}
	job := streams(t, b, dir, input, output)
	job.until(t, 2*soon, "the state RUNNING", running)
	for round := range rounds {
		produceClicks(t, b, input, users, perRound, want)
		total := (round + 1) * perRound
		switch {
		case round == rounds-1:
		case round%2 == 0:
			awaitCounts(t, b, output, total-perRound/2)
			job.kill()
			job = streams(t, b, dir, input, output)
		default:
			awaitCounts(t, b, output, total-perRound/2)
			restart(t, b)
		}
		awaitCounts(t, b, output, total)
	}
	checkCounts(t, b, output, want)
	job.kill()
}

// produceClicks sends clicks without keys, and counts them per user.
func produceClicks(t *testing.T, b *target.Broker, topic string, users, count int, want map[string]int) {
	t.Helper()
	conn := dial(t, b)
	defer conn.Close()
	random := rand.New(rand.NewPCG(uint64(len(want)), uint64(count)))
	var values [][]byte
	for n := range count {
		user := fmt.Sprintf("user_%d", random.IntN(users))
		want[user]++
		values = append(values, fmt.Appendf(nil, `{"user_id":"%s","timestamp":%d,"page":"home"}`, user, n))
		if len(values) == 100 {
			if _, err := conn.Produce(topic, int32(n/100%4), -1, probe.BuildBatch(values...)); err != nil {
				t.Fatal(err)
			}
			values = nil
		}
	}
}

// counts reads the committed counts, and checks that each user's only grow. The
// sum of the last ones is how many clicks were counted.
func counts(conn *probe.Conn, topic string) (last map[string]int, sum int, err error) {
	last = map[string]int{}
	for p := range int32(4) {
		err := conn.ReadCommitted(topic, p, 0, func(batch probe.Batch) error {
			records, err := batch.Records()
			for _, r := range records {
				user := string(r.Key)
				n, err := strconv.Atoi(string(r.Value))
				if err != nil || n <= last[user] {
					return fmt.Errorf("%s-%d at %d: %s is counted %q after %d", topic, p, r.Offset, user, r.Value, last[user])
				}
				sum += n - last[user]
				last[user] = n
			}
			return err
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return last, sum, nil
}

func awaitCounts(t *testing.T, b *target.Broker, topic string, atLeast int) {
	t.Helper()
	conn := dial(t, b)
	defer conn.Close()
	sum := 0
	for deadline := time.Now().Add(2 * soon); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var err error
		if _, sum, err = counts(conn, topic); err != nil && !notYetLeader(b, err) {
			t.Fatal(err)
		}
		if sum >= atLeast {
			return
		}
	}
	t.Fatalf("%d clicks are counted, want %d", sum, atLeast)
}

// notYetLeader is what a restarted Kafka says of its partitions for a while. A
// Millrace that says it is ready must answer at once.
func notYetLeader(b *target.Broker, err error) bool {
	const notLeader = 6
	var refused *probe.Error
	return b.Kind == target.Kafka && errors.As(err, &refused) && refused.Code == notLeader
}

func checkCounts(t *testing.T, b *target.Broker, topic string, want map[string]int) {
	t.Helper()
	got, _, err := counts(dial(t, b), topic)
	if err != nil {
		t.Fatal(err)
	}
	var wrong complaints
	for user, n := range want {
		if got[user] != n {
			wrong.add("%s is counted %d times, want %d", user, got[user], n)
		}
	}
	wrong.report(t)
}
