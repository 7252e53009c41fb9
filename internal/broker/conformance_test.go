package broker_test

import (
	"bufio"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// kafkaEnv names a real broker to compare with as well, HOST:PORT. Its topics
// and groups named in the scripts (a, b, g …) are deleted. With recordEnv what it
// answers becomes the record.
const (
	kafkaEnv  = "MILLRACE_CONFORMANCE_KAFKA"
	recordEnv = "MILLRACE_CONFORMANCE_RECORD"
)

// randomScripts is how many seeded scripts run beside the written ones.
const randomScripts = 200

// TestConformance holds our broker's answers against those of kfake, and those of
// a real Kafka, request by request: as they were recorded, and as they are when
// its address is given. Each difference must be allowed, with its reason, in
// testdata/conformance.
func TestConformance(t *testing.T) {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(defaultPartitions), kfake.AllowAutoTopicCreation(),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	written := slices.Concat(handScripts, idScripts, txnScripts)
	forKafka := slices.Concat(written, kafkaScripts, kafkaTxnScripts, randomTxnScripts(recordedRandom))
	var random []script
	for seed := range uint64(randomScripts) {
		random = append(random, randomScript(seed))
	}
	live := func(addr string) func(*testing.T, script) []step {
		return func(t *testing.T, s script) []step { return play(t, addr, s) }
	}
	ours := live(startBroker(t))
	meet(t, ours, peer{name: "kfake", play: live(fake.ListenAddrs()[0]), allowed: "kfake.txt", whole: true}, slices.Concat(written, random))
	if addr := os.Getenv(kafkaEnv); addr != "" {
		kafka := live(addr)
		if os.Getenv(recordEnv) != "" {
			keepRecord(t, plainRecord, forKafka, kafka)
		}
		meet(t, ours, peer{name: "kafka", play: kafka, allowed: "kafka.txt", whole: true}, slices.Concat(forKafka, random, randomTxnScripts(randomScripts)[recordedRandom:]))
	}
	recorded := readRecord(t, plainRecord)
	meet(t, ours, peer{name: "recorded", play: func(t *testing.T, s script) []step { return recorded[s.name] }, allowed: "kafka.txt"}, forKafka)
}

// peer is whom we are compared with.
type peer struct {
	name    string
	play    func(*testing.T, script) []step
	allowed string // file in testdata/conformance
	whole   bool   // all scripts that an allowance may be for are played
}

func meet(t *testing.T, ours func(*testing.T, script) []step, p peer, scripts []script) {
	allowed := readAllowed(t, "testdata/conformance/"+p.allowed)
	exchanges, ran := 0, 0
	for _, script := range scripts {
		t.Run(p.name+"/"+script.name, func(t *testing.T) {
			mine, theirs := ours(t, script), p.play(t, script)
			exchanges += len(mine)
			compare(t, script.name, mine, theirs, allowed)
			ran++
		})
	}
	for _, a := range allowed {
		if a.used == 0 && ran == len(scripts) && p.whole {
			t.Errorf("%s: the allowance %q is not needed any more: remove it", p.name, a.line)
		}
	}
	t.Logf("%s: %d scripts, %d exchanges compared", p.name, ran, exchanges)
}

const defaultPartitions = 2

// What the scripts may leave behind.
var (
	scriptTopics = []string{"a", "b", "auto", "zero", "doomed"}
	scriptGroups = []string{"g", "none"}
)

// play runs one script on a broker and removes what it left behind.
func play(t *testing.T, addr string, script script) []step {
	s := dialSession(t, addr)
	defer s.conn.Close()
	for _, group := range scriptGroups {
		findCoordinator(s, group)
	}
	script.run(s)
	steps := s.steps
	groups := kmsg.NewPtrDeleteGroupsRequest()
	groups.Groups = scriptGroups
	send[*kmsg.DeleteGroupsResponse](s, 1, groups)
	for _, topic := range scriptTopics {
		deleteTopic(s, topic)
	}
	return steps
}

func compare(t *testing.T, script string, mine, theirs []step, allowed []*allowance) {
	t.Helper()
	if len(mine) != len(theirs) {
		t.Errorf("we answered %d times, the other %d times", len(mine), len(theirs))
		return
	}
	for i := range mine {
		paths := map[string]bool{}
		for field := range mine[i].fields {
			paths[field] = true
		}
		for field := range theirs[i].fields {
			paths[field] = true
		}
		for _, field := range slices.Sorted(maps.Keys(paths)) {
			our, their := mine[i].fields[field], theirs[i].fields[field]
			if our != their && !permitted(allowed, script, mine[i].request, field, our, their) {
				t.Errorf("step %d, %s: %s is %q with us and %q there", i, mine[i].request, field, our, their)
			}
		}
	}
}

// allowance is one line of an allowed-differences file:
//
//	script glob | request glob | field glob | ours glob | theirs glob | reason
type allowance struct {
	line  string
	globs [5]string
	used  int
}

func permitted(allowed []*allowance, values ...string) bool {
	for _, a := range allowed {
		matches := true
		for i, value := range values {
			value = strings.NewReplacer("[", "(", "]", ")", "/", ":").Replace(value)
			ok, err := path.Match(a.globs[i], value)
			matches = matches && ok && err == nil
		}
		if matches {
			a.used++
			return true
		}
	}
	return false
}

func readAllowed(t *testing.T, name string) []*allowance {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all []*allowance
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.Split(line, "|")
		if len(parts) != 6 || strings.TrimSpace(parts[5]) == "" {
			t.Fatalf("%s: %q: want script | request | field | ours | theirs | reason", name, line)
		}
		a := &allowance{line: line}
		for i := range a.globs {
			a.globs[i] = strings.TrimSpace(parts[i])
		}
		all = append(all, a)
	}
	return all
}

// TestConformanceNoticesADifference guards the comparison itself.
func TestConformanceNoticesADifference(t *testing.T) {
	allowed := []*allowance{{globs: [5]string{"*", "Fetch *", ".Topics(*).ErrorCode", "*", "*"}}}
	if permitted(allowed, "s", "Fetch v11", ".HighWatermark", "1", "2") {
		t.Error("a difference in another field was allowed")
	}
	if !permitted(allowed, "s", "Fetch v11", ".Topics[0].ErrorCode", "1", "2") {
		t.Errorf("the allowed field was refused: %v", allowed[0])
	}
}
