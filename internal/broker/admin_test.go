package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
	"millrace/internal/vfs/crashfs"
)

func (c *rawConn) metadata(autoCreate bool, names ...string) []kmsg.MetadataResponseTopic {
	c.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.AllowAutoTopicCreation = autoCreate
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
	}
	return call[*kmsg.MetadataResponse](c, 9, req).Topics
}

// W5: auto-creation needs the client's wish and the broker's permission.
func TestAutoCreation(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New(), DefaultPartitions: 3})
	c := dial(t, n.addr)
	if got := c.metadata(false, "a")[0]; got.ErrorCode != 3 {
		t.Errorf("not wished: code %d, want UNKNOWN_TOPIC_OR_PARTITION (3)", got.ErrorCode)
	}
	if got := c.metadata(true, "a", "a")[0]; got.ErrorCode != 0 || len(got.Partitions) != 3 {
		t.Errorf("wished: code %d, %d partitions", got.ErrorCode, len(got.Partitions))
	}
	if base := c.mustProduce("a", 2, "x"); base != 0 {
		t.Errorf("first offset %d", base)
	}
	for _, name := range []string{"bad name", "..", "", strings.Repeat("x", 250)} {
		if got := c.metadata(true, name)[0]; got.ErrorCode != 17 {
			t.Errorf("topic %q: code %d, want INVALID_TOPIC_EXCEPTION (17)", name, got.ErrorCode)
		}
	}
	if got := c.metadata(true, "__transaction_state")[0]; got.ErrorCode != 3 {
		t.Errorf("an internal topic: code %d", got.ErrorCode)
	}

	strict := dial(t, serve(t, broker.Config{FS: crashfs.New(), DisableAutoCreate: true}).addr)
	if got := strict.metadata(true, "a")[0]; got.ErrorCode != 3 {
		t.Errorf("not permitted: code %d", got.ErrorCode)
	}
}

// Many clients that ask for the same new topic at the same moment all get it.
func TestAutoCreationIsOneForAll(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	var clients sync.WaitGroup
	for range 20 {
		c := dial(t, n.addr)
		clients.Go(func() {
			for i := range 10 {
				name := fmt.Sprint("shared-", i)
				if got := c.metadata(true, name)[0]; got.ErrorCode != 0 || len(got.Partitions) != 4 {
					t.Errorf("%s: code %d, %d partitions", name, got.ErrorCode, len(got.Partitions))
				}
			}
		})
	}
	clients.Wait()
}

// Clients may read the broker's own topics, and neither write nor change them.
func TestInternalTopicsAreTheBrokers(t *testing.T) {
	c := dial(t, startBroker(t))
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = []string{"g"}
	call[*kmsg.FindCoordinatorResponse](c, 4, find)
	const topic = "__consumer_offsets"
	if got := c.metadata(false, topic)[0]; got.ErrorCode != 0 || !got.IsInternal {
		t.Fatalf("code %d, internal %v", got.ErrorCode, got.IsInternal)
	}
	if r := c.fetch(fetchAsk(topic, 0, 0)); r.ErrorCode != 0 {
		t.Errorf("read: code %d", r.ErrorCode)
	}
	if r := c.produce(-1, topic, 0, records(t, "x")); r.ErrorCode != 17 {
		t.Errorf("write: code %d, want INVALID_TOPIC_EXCEPTION (17)", r.ErrorCode)
	}
	if r := c.createPartitions(topic, 100, false); r.ErrorCode != 17 {
		t.Errorf("grow: code %d", r.ErrorCode)
	}
	if code, _ := c.alter(topic, false, "retention.ms", "1"); code != 17 {
		t.Errorf("alter: code %d", code)
	}
	if r := c.deleteRecords(topic, 0, -1); r.ErrorCode != 17 {
		t.Errorf("delete records: code %d", r.ErrorCode)
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{topic}
	if r := call[*kmsg.DeleteTopicsResponse](c, 4, del).Topics[0]; r.ErrorCode != 17 {
		t.Errorf("delete: code %d", r.ErrorCode)
	}
}

// An old client's empty list, and a newer one's null, mean all topics.
func TestMetadataOfAllTopics(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("b", 1)
	c.createTopic("a", 2)
	for version := range int16(10) {
		req := kmsg.NewPtrMetadataRequest()
		if version == 0 {
			req.Topics = []kmsg.MetadataRequestTopic{}
		}
		resp := call[*kmsg.MetadataResponse](c, version, req)
		var names []string
		for _, topic := range resp.Topics {
			names = append(names, *topic.Topic)
		}
		if !slices.Contains(names, "a") || !slices.Contains(names, "b") || !slices.IsSorted(names) {
			t.Errorf("version %d: topics %v", version, names)
		}
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{}
	if resp := call[*kmsg.MetadataResponse](c, 9, req); len(resp.Topics) != 0 {
		t.Errorf("an empty list gives %d topics", len(resp.Topics))
	}
}

func TestCreateTopicsRefusals(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("taken", 1)
	ask := func(edit func(*kmsg.CreateTopicsRequestTopic)) kmsg.CreateTopicsResponseTopic {
		req := kmsg.NewPtrCreateTopicsRequest()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "new", 1, 1
		edit(&topic)
		req.Topics = append(req.Topics, topic)
		return call[*kmsg.CreateTopicsResponse](c, 5, req).Topics[0]
	}
	config := func(name string, value *string) func(*kmsg.CreateTopicsRequestTopic) {
		return func(r *kmsg.CreateTopicsRequestTopic) {
			r.Configs = append(r.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: name, Value: value})
		}
	}
	assign := func(partition int32, nodes ...int32) func(*kmsg.CreateTopicsRequestTopic) {
		return func(r *kmsg.CreateTopicsRequestTopic) {
			r.NumPartitions, r.ReplicationFactor = -1, -1
			r.ReplicaAssignment = append(r.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: partition, Replicas: nodes})
		}
	}
	for name, test := range map[string]struct {
		edit func(*kmsg.CreateTopicsRequestTopic)
		code int16
		says string
	}{
		"exists":              {func(r *kmsg.CreateTopicsRequestTopic) { r.Topic = "taken" }, 36, "exists"},
		"bad name":            {func(r *kmsg.CreateTopicsRequestTopic) { r.Topic = "a/b" }, 17, "a-z"},
		"internal name":       {func(r *kmsg.CreateTopicsRequestTopic) { r.Topic = "__consumer_offsets" }, 17, "belongs to the broker"},
		"no partitions":       {func(r *kmsg.CreateTopicsRequestTopic) { r.NumPartitions = 0 }, 37, "at least 1"},
		"too many partitions": {func(r *kmsg.CreateTopicsRequestTopic) { r.NumPartitions = 1 << 30 }, 37, "limit"},
		"replication 3":       {func(r *kmsg.CreateTopicsRequestTopic) { r.ReplicationFactor = 3 }, 38, "one node"},
		"replication 0":       {func(r *kmsg.CreateTopicsRequestTopic) { r.ReplicationFactor = 0 }, 38, "use 1"},
		"unknown policy":      {config("cleanup.policy", kmsg.StringPtr("compact,shred")), 40, "use delete, compact"},
		"unknown config":      {config("no.such.config", kmsg.StringPtr("1")), 40, "unknown"},
		"null config":         {config("retention.ms", nil), 40, "no value"},
		"foreign replica":     {assign(0, 5), 39, "only node"},
		"gap in assignment":   {assign(1, 1), 39, "0 to 0"},
	} {
		r := ask(test.edit)
		if r.ErrorCode != test.code || r.ErrorMessage == nil || !strings.Contains(*r.ErrorMessage, test.says) {
			t.Errorf("%s: code %d %q, want %d and %q", name, r.ErrorCode, deref(r.ErrorMessage), test.code, test.says)
		}
	}
	if r := ask(assign(0, 1)); r.ErrorCode != 0 || r.NumPartitions != 1 || r.ReplicationFactor != 1 || len(r.Configs) == 0 {
		t.Errorf("a right assignment: %+v", r)
	}
	twice := kmsg.NewPtrCreateTopicsRequest()
	for range 2 {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "double", 1, 1
		twice.Topics = append(twice.Topics, topic)
	}
	for _, r := range call[*kmsg.CreateTopicsResponse](c, 5, twice).Topics {
		if r.ErrorCode != 42 {
			t.Errorf("twice in one request: code %d, want INVALID_REQUEST (42)", r.ErrorCode)
		}
	}
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	create := kmsg.NewPtrCreateTopicsRequest()
	create.ValidateOnly = true
	for _, name := range []string{"a", "b"} {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
		create.Topics = append(create.Topics, topic)
	}
	created := call[*kmsg.CreateTopicsResponse](c, 5, create)
	if created.Topics[0].ErrorCode != 36 || created.Topics[1].ErrorCode != 0 {
		t.Errorf("codes %d and %d, want 36 and 0", created.Topics[0].ErrorCode, created.Topics[1].ErrorCode)
	}
	if got := c.metadata(false, "b")[0]; got.ErrorCode != 3 {
		t.Error("the topic was made")
	}
	if r := c.createPartitions("a", 4, true); r.ErrorCode != 0 {
		t.Errorf("partitions: code %d", r.ErrorCode)
	}
	if got := len(c.metadata(false, "a")[0].Partitions); got != 1 {
		t.Errorf("%d partitions were made", got)
	}
	if code, _ := c.alter("a", true, "retention.ms", "5"); code != 0 {
		t.Errorf("config: code %d", code)
	}
	if got := c.topicConfig("a", "retention.ms"); *got.Value != "604800000" {
		t.Errorf("retention.ms is %s", *got.Value)
	}
}

func (c *rawConn) createPartitions(topic string, count int32, validateOnly bool) kmsg.CreatePartitionsResponseTopic {
	c.t.Helper()
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.ValidateOnly = validateOnly
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = topic, count
	req.Topics = append(req.Topics, rt)
	return call[*kmsg.CreatePartitionsResponse](c, 3, req).Topics[0]
}

func TestCreatePartitions(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 2)
	c.mustProduce("a", 1, "stays")
	for _, step := range []struct {
		topic string
		count int32
		code  int16
	}{{"a", 4, 0}, {"a", 4, 37}, {"a", 3, 37}, {"a", -1, 37}, {"missing", 4, 3}, {"a", 1 << 30, 37}} {
		if r := c.createPartitions(step.topic, step.count, false); r.ErrorCode != step.code {
			t.Errorf("%s to %d: code %d %s, want %d", step.topic, step.count, r.ErrorCode, deref(r.ErrorMessage), step.code)
		}
	}
	c.mustProduce("a", 3, "new")
	if got := values(t, c.fetch(fetchAsk("a", 1, 0)).RecordBatches); len(got) != 1 {
		t.Errorf("partition 1 holds %v", got)
	}
}

// alter sets one topic config incrementally.
func (c *rawConn) alter(topic string, validateOnly bool, name, value string) (int16, string) {
	c.t.Helper()
	return c.alterOp(topic, validateOnly, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: name, Value: &value})
}

func (c *rawConn) alterOp(topic string, validateOnly bool, op kmsg.IncrementalAlterConfigsRequestResourceConfig) (int16, string) {
	c.t.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = validateOnly
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	rr.Configs = append(rr.Configs, op)
	req.Resources = append(req.Resources, rr)
	r := call[*kmsg.IncrementalAlterConfigsResponse](c, 1, req).Resources[0]
	return r.ErrorCode, deref(r.ErrorMessage)
}

func (c *rawConn) describe(kind kmsg.ConfigResourceType, name string, only ...string) kmsg.DescribeConfigsResponseResource {
	c.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	rr := kmsg.NewDescribeConfigsRequestResource()
	rr.ResourceType, rr.ResourceName, rr.ConfigNames = kind, name, only
	req.Resources = append(req.Resources, rr)
	return call[*kmsg.DescribeConfigsResponse](c, 4, req).Resources[0]
}

func (c *rawConn) topicConfig(topic, name string) kmsg.DescribeConfigsResponseResourceConfig {
	c.t.Helper()
	r := c.describe(kmsg.ConfigResourceTypeTopic, topic, name)
	if r.ErrorCode != 0 || len(r.Configs) != 1 {
		c.t.Fatalf("describe %s of %s: code %d, %d configs", name, topic, r.ErrorCode, len(r.Configs))
	}
	return r.Configs[0]
}

func TestTopicConfigs(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("a", 1, "retention.ms", "1000", "segment.bytes", "4096")
	expect := func(name, value string, source kmsg.ConfigSource) {
		t.Helper()
		got := c.topicConfig("a", name)
		if *got.Value != value || got.Source != source || got.ConfigType == 0 || deref(got.Documentation) == "" {
			t.Errorf("%s = %s from %v, want %s from %v", name, *got.Value, got.Source, value, source)
		}
	}
	dynamic, fallback := kmsg.ConfigSourceDynamicTopicConfig, kmsg.ConfigSourceDefaultConfig
	expect("retention.ms", "1000", dynamic)
	expect("segment.bytes", "4096", dynamic)
	expect("retention.bytes", "-1", fallback)

	if code, text := c.alter("a", false, "retention.bytes", "5000"); code != 0 {
		t.Fatalf("alter: code %d %s", code, text)
	}
	expect("retention.bytes", "5000", dynamic)
	if code, text := c.alter("a", false, "cleanup.policy", "shred"); code != 40 || !strings.Contains(text, "use delete, compact") {
		t.Errorf("unknown policy: code %d %s", code, text)
	}
	remove := kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: "retention.bytes", Op: kmsg.IncrementalAlterConfigOpDelete}
	if code, text := c.alterOp("a", false, remove); code != 0 {
		t.Fatalf("delete: code %d %s", code, text)
	}
	expect("retention.bytes", "-1", fallback)
	list := func(op kmsg.IncrementalAlterConfigOp, value string) int16 {
		code, _ := c.alterOp("a", false, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: "cleanup.policy", Op: op, Value: &value})
		return code
	}
	if a, b := list(kmsg.IncrementalAlterConfigOpAppend, "compact"), list(kmsg.IncrementalAlterConfigOpAppend, "shred"); a != 0 || b != 40 {
		t.Errorf("append compact: code %d, append shred: code %d", a, b)
	}
	expect("cleanup.policy", "delete,compact", dynamic)
	if code, _ := c.alterOp("a", false, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: "retention.ms", Op: kmsg.IncrementalAlterConfigOpAppend, Value: kmsg.StringPtr("1")}); code != 40 {
		t.Errorf("append to a number: code %d", code)
	}

	replace := kmsg.NewPtrAlterConfigsRequest()
	rr := kmsg.NewAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, "a"
	rr.Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "segment.ms", Value: kmsg.StringPtr("9000")}}
	replace.Resources = append(replace.Resources, rr)
	if r := call[*kmsg.AlterConfigsResponse](c, 2, replace).Resources[0]; r.ErrorCode != 0 {
		t.Fatalf("replace: code %d", r.ErrorCode)
	}
	expect("segment.ms", "9000", dynamic)
	expect("retention.ms", "604800000", fallback) // the older request replaces them all
}

func TestBrokerConfigsAreReadOnly(t *testing.T) {
	c := dial(t, startBroker(t))
	r := c.describe(kmsg.ConfigResourceTypeBroker, "1")
	found := map[string]string{}
	for _, config := range r.Configs {
		found[config.Name] = *config.Value
		if !config.ReadOnly || deref(config.Documentation) == "" {
			t.Errorf("%s is writable or has no words", config.Name)
		}
	}
	if found["num.partitions"] != "2" || found["auto.create.topics.enable"] != "true" || found["message.max.bytes"] != "1048588" {
		t.Errorf("got %v", found)
	}
	if r := c.describe(kmsg.ConfigResourceTypeBroker, "7"); r.ErrorCode != 42 {
		t.Errorf("another node: code %d", r.ErrorCode)
	}
	if r := c.describe(kmsg.ConfigResourceTypeTopic, "missing"); r.ErrorCode != 3 {
		t.Errorf("an unknown topic: code %d", r.ErrorCode)
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeBroker, "1"
	req.Resources = append(req.Resources, rr)
	if r := call[*kmsg.IncrementalAlterConfigsResponse](c, 1, req).Resources[0]; r.ErrorCode != 42 || !strings.Contains(deref(r.ErrorMessage), "restart") {
		t.Errorf("alter the broker: code %d %s", r.ErrorCode, deref(r.ErrorMessage))
	}
}

// A deleted topic is gone at once, and a new one of its name starts empty.
func TestDeleteTopics(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 2, "retention.ms", "5000")
	c.mustProduce("a", 0, "old")
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"a", "missing"}
	resp := call[*kmsg.DeleteTopicsResponse](c, 5, del)
	if a, missing := resp.Topics[0].ErrorCode, resp.Topics[1].ErrorCode; a != 0 || missing != 3 {
		t.Errorf("codes %d and %d, want 0 and 3", a, missing)
	}
	if r := c.produce(-1, "a", 0, records(t, "x")); r.ErrorCode != 3 {
		t.Errorf("produce to the deleted topic: code %d", r.ErrorCode)
	}
	c.createTopic("a", 1)
	if r := c.listOffset("a", 0, -1); r.Offset != 0 {
		t.Errorf("the new topic ends at %d", r.Offset)
	}
	if got := c.topicConfig("a", "retention.ms"); *got.Value != "604800000" {
		t.Errorf("the new topic has the old one's retention.ms %s", *got.Value)
	}
}

func TestDescribeLogDirs(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 2)
	c.mustProduce("a", 1, strings.Repeat("x", 1000))
	for version := int16(1); version <= 4; version++ {
		dir := call[*kmsg.DescribeLogDirsResponse](c, version, kmsg.NewPtrDescribeLogDirsRequest()).Dirs[0]
		at := slices.IndexFunc(dir.Topics, func(rt kmsg.DescribeLogDirsResponseDirTopic) bool { return rt.Topic == "a" })
		if at < 0 || len(dir.Topics[at].Partitions) != 2 || dir.Topics[at].Partitions[0].Size != 0 || dir.Topics[at].Partitions[1].Size < 1000 {
			t.Errorf("version %d: %+v", version, dir)
		}
	}
}

// W7: tools that ask for three replicas get one where the broker is told so.
func TestClampReplication(t *testing.T) {
	c := dial(t, serve(t, broker.Config{FS: crashfs.New(), ClampReplication: true}).addr)
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "a", 1, 3
	req.Topics = append(req.Topics, topic)
	if r := call[*kmsg.CreateTopicsResponse](c, 5, req).Topics[0]; r.ErrorCode != 0 || r.ReplicationFactor != 1 {
		t.Errorf("code %d %s, replication factor %d", r.ErrorCode, deref(r.ErrorMessage), r.ReplicationFactor)
	}
}

func TestOpenReportsEveryFault(t *testing.T) {
	_, err := broker.Open(broker.Config{DefaultPartitions: -1, Advertise: "a:b:c", RequestMemory: 1, MaxConnections: -1})
	for _, says := range []string{"FS", "default partitions", "advertised address", "RequestMemory", "connection limits"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is not in: %v", says, err)
		}
	}
}

// R22: 200,000 producer ids cost a sync per thousand, whatever was given before.
func TestProducerIDsCostTheSame(t *testing.T) {
	fsys := crashfs.New()
	var syncs atomic.Int64
	fsys.OnOp(func(op crashfs.Op) {
		if op.Kind.Syncs() {
			syncs.Add(1)
		}
	}, nil)
	n := serve(t, broker.Config{FS: fsys})
	c := dial(t, n.addr)
	before := syncs.Load()
	const calls = 200_000
	frame := c.form.AppendRequest(nil, func() kmsg.Request { r := kmsg.NewPtrInitProducerIDRequest(); r.SetVersion(0); return r }(), 1)
	go func() {
		for range calls {
			if _, err := c.Conn.Write(frame); err != nil {
				return
			}
		}
	}()
	seen := make(map[string]bool, calls)
	for range calls {
		seen[string(c.receiveFrame()[10:18])] = true // behind correlation ID, throttle and error code
	}
	if len(seen) != calls {
		t.Errorf("%d different ids in %d answers", len(seen), calls)
	}
	if used := syncs.Load() - before; used > 2*calls/1000+2 {
		t.Errorf("%d calls cost %d syncs", calls, used)
	}
}

// A small request cannot ask for an answer without bound: a topic is described
// once however often it is named, and answers that are large all the same take
// their memory from a budget.
func TestAnswersAreInProportion(t *testing.T) {
	n := serve(t, broker.Config{FS: crashfs.New()})
	c := dial(t, n.addr)
	c.createTopic("wide", 1000)
	var names []string
	for range 50_000 {
		names = append(names, "wide")
	}
	if got := len(c.metadata(true, names...)); got != 1 {
		t.Errorf("Metadata describes the topic %d times", got)
	}
	dirs := kmsg.NewPtrDescribeLogDirsRequest()
	for range 500 { // more is refused as too large once decoded
		topic := kmsg.NewDescribeLogDirsRequestTopic()
		topic.Topic, topic.Partitions = "wide", []int32{7}
		dirs.Topics = append(dirs.Topics, topic)
	}
	if dir := call[*kmsg.DescribeLogDirsResponse](c, 4, dirs).Dirs[0]; len(dir.Topics) != 1 || len(dir.Topics[0].Partitions) != 1 {
		t.Errorf("DescribeLogDirs describes %d topics", len(dir.Topics))
	}
	configs := kmsg.NewPtrDescribeConfigsRequest()
	for range 1200 {
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, "wide"
		configs.Resources = append(configs.Resources, resource)
	}
	resp := call[*kmsg.DescribeConfigsResponse](c, 4, configs)
	if first, last := resp.Resources[0], resp.Resources[1199]; first.ErrorCode != 0 || last.ErrorCode != 42 || len(last.Configs) != 0 {
		t.Errorf("DescribeConfigs: codes %d and %d, want 0 and INVALID_REQUEST (42)", first.ErrorCode, last.ErrorCode)
	}
	waitUntil(t, "all memory is given back", func() bool { return n.AnswerMemoryBytes() == 0 })
}
