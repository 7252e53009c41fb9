package broker_test

import (
	"crypto/rand"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topicID asks for the topic's ID by its name.
func (c *rawConn) topicID(name string) [16]byte {
	c.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &name}}
	found := call[*kmsg.MetadataResponse](c, 13, req).Topics[0]
	if found.ErrorCode != 0 || found.TopicID == ([16]byte{}) || found.Topic == nil || *found.Topic != name {
		c.t.Fatalf("metadata of %s: %+v", name, found)
	}
	return found.TopicID
}

func someTopicID() (id [16]byte) {
	_, _ = rand.Read(id[:])
	return id
}

func metadataByID(ids ...[16]byte) *kmsg.MetadataRequest {
	req := kmsg.NewPtrMetadataRequest()
	for _, id := range ids {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{TopicID: id})
	}
	return req
}

func TestMetadataByTopicID(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 3)
	id, unknown := c.topicID("a"), someTopicID()
	for version := int16(12); version <= 13; version++ {
		resp := call[*kmsg.MetadataResponse](c, version, metadataByID(id, unknown, id))
		if len(resp.Topics) != 2 {
			t.Fatalf("v%d: %d topics in the answer: %+v", version, len(resp.Topics), resp.Topics)
		}
		if got := resp.Topics[0]; got.ErrorCode != 0 || *got.Topic != "a" || got.TopicID != id || len(got.Partitions) != 3 {
			t.Errorf("v%d: %+v", version, got)
		}
		if got := resp.Topics[1]; got.ErrorCode != 100 || got.Topic != nil || got.TopicID != unknown {
			t.Errorf("v%d: an unknown ID: %+v, want UNKNOWN_TOPIC_ID (100)", version, got)
		}
	}
}

// In versions 10 and 11 the place for an ID exists, but Kafka refuses its use.
func TestMetadataBefore12TakesNamesOnly(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	id := c.topicID("a")
	for version := int16(10); version <= 11; version++ {
		if got := call[*kmsg.MetadataResponse](c, version, metadataByID(id)).Topics; len(got) != 1 || got[0].ErrorCode != 42 {
			t.Errorf("v%d: %+v, want INVALID_REQUEST (42)", version, got)
		}
	}
	nobody := kmsg.NewPtrMetadataRequest()
	nobody.Topics = make([]kmsg.MetadataRequestTopic, 1)
	if got := call[*kmsg.MetadataResponse](c, 13, nobody).Topics; len(got) != 1 || got[0].ErrorCode != 42 {
		t.Errorf("neither name nor ID: %+v, want INVALID_REQUEST (42)", got)
	}
}

// A topic that is made again under its name has another ID, and who still knows
// the old one reads nothing of it.
func TestFetchByTopicID(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "old")
	old := c.topicID("a")
	for version := int16(13); version <= 18; version++ {
		ask := fetchAsk("", 0, 0)
		ask.Topics[0].TopicID = old
		resp := call[*kmsg.FetchResponse](c, version, ask)
		if got := resp.Topics[0]; got.TopicID != old || values(t, got.Partitions[0].RecordBatches)[0] != "old" {
			t.Errorf("v%d: %+v", version, got)
		}
	}
	again := kmsg.NewPtrDeleteTopicsRequest()
	again.TopicNames = []string{"a"}
	if got := call[*kmsg.DeleteTopicsResponse](c, 5, again).Topics[0]; got.ErrorCode != 0 {
		t.Fatalf("delete: %+v", got)
	}
	c.createTopic("a", 1)
	c.mustProduce("a", 0, "new")
	ask := fetchAsk("", 0, 0)
	ask.Topics[0].TopicID = old
	if got := call[*kmsg.FetchResponse](c, 18, ask).Topics[0]; got.TopicID != old || got.Partitions[0].ErrorCode != 100 {
		t.Errorf("the ID of a deleted topic: %+v, want UNKNOWN_TOPIC_ID (100)", got)
	}
	ask.Topics[0].TopicID = c.topicID("a")
	if got := call[*kmsg.FetchResponse](c, 18, ask).Topics[0]; values(t, got.Partitions[0].RecordBatches)[0] != "new" {
		t.Errorf("the ID of the new topic: %+v", got)
	}
}

func TestOffsetsByTopicID(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 2)
	findGroup(c, "g")
	id, unknown := c.topicID("a"), someTopicID()
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.Generation = "g", -1
	for _, topic := range [][16]byte{id, unknown} {
		rt := kmsg.NewOffsetCommitRequestTopic()
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Partition, rp.Offset = 1, 7
		rt.TopicID, rt.Partitions = topic, append(rt.Partitions, rp)
		commit.Topics = append(commit.Topics, rt)
	}
	committed := call[*kmsg.OffsetCommitResponse](c, 10, commit).Topics
	if committed[0].TopicID != id || committed[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("commit: %+v", committed[0])
	}
	if committed[1].TopicID != unknown || committed[1].Partitions[0].ErrorCode != 100 {
		t.Errorf("commit of an unknown ID: %+v, want UNKNOWN_TOPIC_ID (100)", committed[1])
	}
	some := kmsg.OffsetFetchRequestGroup{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{
		{TopicID: id, Partitions: []int32{1}}, {TopicID: unknown, Partitions: []int32{1}},
	}}
	found := fetchOffsets(c, some)
	if got := found[0]; got.TopicID != id || got.Partitions[0].Offset != 7 {
		t.Errorf("fetch: %+v", got)
	}
	if got := found[1]; got.TopicID != unknown || got.Partitions[0].ErrorCode != 100 || got.Partitions[0].Offset != -1 {
		t.Errorf("fetch of an unknown ID: %+v, want UNKNOWN_TOPIC_ID (100)", got)
	}
	if all := fetchOffsets(c, kmsg.OffsetFetchRequestGroup{Group: "g"}); len(all) != 1 || all[0].TopicID != id || all[0].Partitions[0].Offset != 7 {
		t.Errorf("fetch of all: %+v", all)
	}
}

func fetchOffsets(c *rawConn, group kmsg.OffsetFetchRequestGroup) []kmsg.OffsetFetchResponseGroupTopic {
	c.t.Helper()
	req := kmsg.NewPtrOffsetFetchRequest()
	group.MemberEpoch = -1
	req.Groups = append(req.Groups, group)
	return call[*kmsg.OffsetFetchResponse](c, 10, req).Groups[0].Topics
}

// findGroup makes the offsets topic, as every client does first.
func findGroup(c *rawConn, group string) {
	c.t.Helper()
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorKeys = []string{group}
	if got := call[*kmsg.FindCoordinatorResponse](c, 4, req).Coordinators[0]; got.ErrorCode != 0 {
		c.t.Fatalf("find the coordinator of %s: %+v", group, got)
	}
}

func orNone(name *string) string {
	if name == nil {
		return ""
	}
	return *name
}

func TestDeleteTopicsByID(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	c.createTopic("b", 1)
	a, b, unknown := c.topicID("a"), c.topicID("b"), someTopicID()
	name := "b"
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: unknown}, {TopicID: b, Topic: &name}, {TopicID: a}, {}, {Topic: &name}}
	got := call[*kmsg.DeleteTopicsResponse](c, 6, req).Topics
	for i, want := range []struct {
		code int16
		name string
		id   [16]byte
	}{{100, "", unknown}, {42, "b", b}, {0, "a", a}, {42, "", [16]byte{}}, {0, "b", b}} {
		if g := got[i]; g.ErrorCode != want.code || orNone(g.Topic) != want.name || g.TopicID != want.id {
			t.Errorf("%d: code %d, name %q, ID %x; want %+v", i, g.ErrorCode, orNone(g.Topic), g.TopicID, want)
		}
	}
	if resp := call[*kmsg.MetadataResponse](c, 13, metadataByID(a, b)); resp.Topics[0].ErrorCode != 100 || resp.Topics[1].ErrorCode != 100 {
		t.Errorf("after the deletion: %+v", resp.Topics)
	}
}
