package suite

import (
	"strconv"
	"testing"
	"time"

	"millrace/compat/foreign"
	"millrace/compat/target"
)

// client is one library behind the common command line.
type client struct {
	name string
	// argv returns the command, environment included, or why there is none.
	argv    func() (argv, env []string, err error)
	static  bool // can be a static member
	retries bool // resends what a broker's death interrupted
	once    bool // and is idempotent by default: it writes nothing twice
}

func pythonClient(name, script string, packages ...string) func() ([]string, []string, error) {
	return func() ([]string, []string, error) {
		python, err := foreign.Python(name, packages...)
		return []string{python, foreign.Source("clients", "python", script)}, nil, err
	}
}

func goClient(name string) func() ([]string, []string, error) {
	return func() ([]string, []string, error) {
		bin, err := foreign.GoProgram("client-"+name, "./clients/golang/"+name)
		return []string{bin}, nil, err
	}
}

func kafkajsClient() ([]string, []string, error) {
	node, dir, err := foreign.KafkaJS()
	return []string{node, foreign.Source("clients", "js", "kafkajs.cjs")},
		[]string{"NODE_PATH=" + dir + "/node_modules", "KAFKAJS_NO_PARTITIONER_WARNING=1"}, err
}

// confluentPackage is also what the truncation test installs.
const confluentPackage = "confluent-kafka==2.16.1"

// spread is the library that chooses a partition at random for every record;
// others stay with one for a while.
var spread = client{name: "sarama", argv: goClient("sarama")}

var clients = []client{
	{name: "kafka-python-2", argv: pythonClient("kafka-python-2", "kafka_python.py", "kafka-python==2.0.2", "six")},
	{name: "kafka-python-3", argv: pythonClient("kafka-python-3", "kafka_python.py", "kafka-python==3.0.12"), static: true, retries: true, once: true},
	{name: "confluent-kafka", argv: pythonClient("confluent-kafka", "confluent.py", confluentPackage), static: true, retries: true},
	{name: "kafkajs", argv: kafkajsClient},
	{name: "sarama", argv: goClient("sarama"), static: true},
	{name: "kafka-go", argv: goClient("kafkago")},
	{name: "franz-go", argv: goClient("franz"), static: true, retries: true, once: true},
}

// Times that bound each step of a scenario; most take a fraction.
const (
	soon    = 60 * time.Second
	session = 6 * time.Second // the shortest that a broker allows
)

func (c client) produce(t *testing.T, b *target.Broker, topic string, first, count int, pace time.Duration) *program {
	t.Helper()
	return c.run(t, "produce", b.Addr, topic, strconv.Itoa(first), strconv.Itoa(count), strconv.Itoa(int(pace.Milliseconds())))
}

func (c client) consume(t *testing.T, b *target.Broker, topic, group string, count int, session time.Duration, instance string) *program {
	t.Helper()
	return c.run(t, "consume", b.Addr, topic, group, strconv.Itoa(count), strconv.Itoa(int(session.Milliseconds())), instance)
}

func (c client) run(t *testing.T, args ...string) *program {
	t.Helper()
	argv, env, err := c.argv()
	if err != nil {
		leaveOut(t, c.name, err)
	}
	return start(t, env, append(argv, args...)...)
}

// checkAll checks that every click was acknowledged. A library that does not
// retry may lose its first records to a topic that Kafka is still creating;
// Millrace names a topic only when it can take records.
func (c client) checkAll(t *testing.T, b *target.Broker, acks map[int]place, count int) {
	t.Helper()
	if len(acks) != count && (c.retries || b.Kind == target.Millrace) {
		t.Errorf("%d of %d records were acknowledged", len(acks), count)
	}
}

// eachClient runs a scenario once per library, side by side: they mostly wait.
func eachClient(t *testing.T, scenario func(*testing.T, client)) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			scenario(t, c)
		})
	}
}

// TestFirstUse is a user's first minute: a producer that sends JSON without a
// key to a topic that does not exist yet, and a consumer group that reads all
// of it from the beginning.
func TestFirstUse(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		const count = 200
		b, topic := sharedBroker(t), newTopic(t)
		acks := acksOf(t, c.produce(t, b, topic, 0, count, 0).finish(t, soon))
		c.checkAll(t, b, acks, count)
		checkLog(t, b, topic, acks)
		reads := c.consume(t, b, topic, topic+"-group", len(acks), 0, "-").finish(t, soon)
		checkReads(t, acks, reads)
	})
}

// TestConsumerResumes stops a consumer and starts it again: it goes on where
// its auto-commit left off, also when the broker was killed in between.
func TestConsumerResumes(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		const half = 100
		b, topic := ownBroker(t, target.Options{}), newTopic(t)
		group := topic + "-group"
		acks := acksOf(t, c.produce(t, b, topic, 0, half, 0).finish(t, soon))
		c.checkAll(t, b, acks, half)
		first := c.consume(t, b, topic, group, len(acks), 0, "-").finish(t, soon)
		checkReads(t, acks, first)
		restart(t, b)
		checkLog(t, b, topic, acks)
		more := acksOf(t, c.produce(t, b, topic, half, half, 0).finish(t, soon))
		checkLog(t, b, topic, more)
		second := c.consume(t, b, topic, group, len(more), 0, "-").finish(t, soon)
		checkReads(t, more, second)
	})
}

// TestBrokerKilled kills the broker with SIGKILL under a running producer and
// a running consumer. Both go on after its restart by themselves; what was
// acknowledged before is still at its offset, and is consumed.
func TestBrokerKilled(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		const count = 400
		b, topic := ownBroker(t, target.Options{}), newTopic(t)
		// The topic is there first: a consumer that subscribes to nothing may
		// take minutes to look again.
		acks := acksOf(t, c.produce(t, b, topic, 0, 1, 0).finish(t, soon))
		reader := c.consume(t, b, topic, topic+"-group", 0, session, "-")
		reader.until(t, soon, "the first record", func(e event) bool { return e.Read != nil })
		writer := c.produce(t, b, topic, 1, count, 5*time.Millisecond)
		before := writer.until(t, soon, "100 acks", nth(100, func(e event) bool { return e.Acked != nil }))
		restart(t, b)
		for n, at := range acksOf(t, append(before, writer.finish(t, 2*soon)...)) {
			acks[n] = at
		}
		if c.retries {
			c.checkAll(t, b, acks, count+1)
		}
		if c.once {
			checkLog(t, b, topic, acks)
		} else {
			checkPlaces(t, b, topic, acks)
		}
		delete(acks, 0) // the reader was seen to have it
		awaitReads(t, reader, acks)
	})
}

// TestMemberKilled lets two members share a topic and kills one with SIGKILL:
// after its session timeout the other one has all partitions.
func TestMemberKilled(t *testing.T) {
	eachClient(t, func(t *testing.T, c client) {
		b, topic := sharedBroker(t), newTopic(t)
		group := topic + "-group"
		acks := acksOf(t, spread.produce(t, b, topic, 0, 40, 0).finish(t, soon))
		one := c.consume(t, b, topic, group, 0, session, "-")
		awaitReads(t, one, acks)
		two := c.consume(t, b, topic, group, 0, session, "-")
		awaitMembers(t, b, group, 2)
		sharePartitions(t, b, topic, one, two)
		one.kill()
		after := acksOf(t, spread.produce(t, b, topic, 1000, 40, 0).finish(t, soon))
		awaitReads(t, two, after)
		awaitMembers(t, b, group, 1)
	})
}

// TestStaticMember kills a static member and starts it again within its
// session: it gets its partitions back, and the other member sees no
// rebalance.
func TestStaticMember(t *testing.T) {
	for _, c := range clients {
		if !c.static {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, topic := sharedBroker(t), newTopic(t)
			group, long := topic+"-group", 30*time.Second
			acks := acksOf(t, spread.produce(t, b, topic, 0, 40, 0).finish(t, soon))
			one := c.consume(t, b, topic, group, 0, long, "one")
			awaitReads(t, one, acks)
			two := c.consume(t, b, topic, group, 0, long, "two")
			sharePartitions(t, b, topic, one, two)
			assigned := func(e event) bool { return e.Assigned != nil }
			two.drain(2 * time.Second) // cooperative members rebalance twice
			one.kill()
			again := c.consume(t, b, topic, group, 0, long, "one")
			got := again.until(t, soon, "an assignment", assigned)
			if n := len(got[len(got)-1].Assigned); n != 2 {
				t.Errorf("the restarted member got %d partitions instead of its 2", n)
			}
			two.quiet(t, 4*time.Second, "a static member's restart must not rebalance the other", assigned)
		})
	}
}
