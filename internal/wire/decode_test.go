package wire_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
	"millrace/internal/wire/wiretest"
)

const (
	produceKey     = 0
	fetchKey       = 1
	metadataKey    = 3
	apiVersionsKey = 18
)

// samples is how many random requests each comparison with kmsg takes per
// version. One struct decodes them all, in any order of versions, so what one
// leaves behind would show in the next.
const samples = 200

func TestProduceDecodesAsKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(10, 0))
	var got wire.ProduceRequest
	for range 14 * samples {
		version := int16(rng.IntN(14))
		body := wiretest.Filled(rng, produceKey, version).AppendTo(nil)
		if err := got.Decode(wire.Header{Key: produceKey, Version: version}, body); err != nil {
			t.Fatalf("v%d: %v", version, err)
		}
		compareProduceRequest(t, &got, version, body)
	}
}

func compareProduceRequest(t *testing.T, got *wire.ProduceRequest, version int16, body []byte) {
	t.Helper()
	want := kmsg.NewPtrProduceRequest()
	read(t, want, version, body)
	equal(t, "version", got.Version, version)
	equalText(t, "transactional ID", got.TransactionalID, want.TransactionID)
	equal(t, "acks", got.Acks, want.Acks)
	equal(t, "timeout", got.TimeoutMs, want.TimeoutMillis)
	equal(t, "topics", len(got.Topics), len(want.Topics))
	for i, topic := range got.Topics {
		equal(t, "topic", string(topic.Name), want.Topics[i].Topic)
		equalID(t, topic.ID, version >= 13, want.Topics[i].TopicID)
		equal(t, "partitions", len(topic.Partitions), len(want.Topics[i].Partitions))
		for j, p := range topic.Partitions {
			wp := want.Topics[i].Partitions[j]
			equal(t, "partition", p.Partition, wp.Partition)
			equal(t, "null records", p.Records == nil, wp.Records == nil)
			equal(t, "records", string(p.Records), string(wp.Records))
		}
	}
}

func TestFetchDecodesAsKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	var got wire.FetchRequest
	for range 15 * samples {
		version := 4 + int16(rng.IntN(15))
		body := wiretest.Filled(rng, fetchKey, version).AppendTo(nil)
		if err := got.Decode(wire.Header{Key: fetchKey, Version: version}, body); err != nil {
			t.Fatalf("v%d: %v", version, err)
		}
		compareFetchRequest(t, &got, version, body)
	}
}

func compareFetchRequest(t *testing.T, got *wire.FetchRequest, version int16, body []byte) {
	t.Helper()
	want := kmsg.NewPtrFetchRequest()
	read(t, want, version, body)
	replica := want.ReplicaID
	if version >= 15 {
		replica = want.ReplicaState.ID
	}
	equal(t, "replica", got.ReplicaID, replica)
	equal(t, "max wait", got.MaxWaitMs, want.MaxWaitMillis)
	equal(t, "min bytes", got.MinBytes, want.MinBytes)
	equal(t, "max bytes", got.MaxBytes, want.MaxBytes)
	equal(t, "isolation", got.IsolationLevel, want.IsolationLevel)
	equal(t, "session", got.SessionID, want.SessionID)
	equal(t, "session epoch", got.SessionEpoch, want.SessionEpoch)
	equal(t, "rack", string(got.RackID), want.Rack)
	compareFetchTopics(t, got.Topics, want.Topics, version >= 13)
	compareForgotten(t, got.Forgotten, want.ForgottenTopics, version >= 13)
}

func compareFetchTopics(t *testing.T, got []wire.FetchTopic, want []kmsg.FetchRequestTopic, byID bool) {
	t.Helper()
	equal(t, "topics", len(got), len(want))
	for i, topic := range got {
		equal(t, "topic", string(topic.Name), want[i].Topic)
		equalID(t, topic.ID, byID, want[i].TopicID)
		equal(t, "partitions", len(topic.Partitions), len(want[i].Partitions))
		for j, p := range topic.Partitions {
			wp := want[i].Partitions[j]
			equal(t, "partition", p, wire.FetchPartition{
				Partition: wp.Partition, CurrentLeaderEpoch: wp.CurrentLeaderEpoch, Offset: wp.FetchOffset,
				LogStartOffset: wp.LogStartOffset, LastFetchedEpoch: wp.LastFetchedEpoch, MaxBytes: wp.PartitionMaxBytes,
			})
		}
	}
}

func compareForgotten(t *testing.T, got []wire.ForgottenTopic, want []kmsg.FetchRequestForgottenTopic, byID bool) {
	t.Helper()
	equal(t, "forgotten topics", len(got), len(want))
	for i, topic := range got {
		equal(t, "forgotten topic", string(topic.Name), want[i].Topic)
		equalID(t, topic.ID, byID, want[i].TopicID)
		equal(t, "forgotten partitions", len(topic.Partitions), len(want[i].Partitions))
		for j, p := range topic.Partitions {
			equal(t, "forgotten partition", p, want[i].Partitions[j])
		}
	}
}

func TestMetadataDecodesAsKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(12, 0))
	var got wire.MetadataRequest
	for range 14 * samples {
		version := int16(rng.IntN(14))
		body := wiretest.Filled(rng, metadataKey, version).AppendTo(nil)
		if err := got.Decode(wire.Header{Key: metadataKey, Version: version}, body); err != nil {
			t.Fatalf("v%d: %v", version, err)
		}
		compareMetadataRequest(t, &got, version, body)
	}
}

func compareMetadataRequest(t *testing.T, got *wire.MetadataRequest, version int16, body []byte) {
	t.Helper()
	want := kmsg.NewPtrMetadataRequest()
	read(t, want, version, body)
	all := want.Topics == nil
	if version == 0 {
		all = len(want.Topics) == 0
	}
	equal(t, "all topics", got.AllTopics, all)
	equal(t, "topics", len(got.Topics), len(want.Topics))
	for i, name := range got.Topics {
		equalText(t, "topic", name, want.Topics[i].Topic)
	}
	for i, id := range got.IDs {
		equalID(t, id, true, want.Topics[i].TopicID)
	}
	if version >= 10 {
		equal(t, "IDs", len(got.IDs), len(want.Topics))
	} else {
		equal(t, "IDs", len(got.IDs), 0)
	}
	equal(t, "auto creation", got.AllowAutoTopicCreation, version < 4 || want.AllowAutoTopicCreation)
	equal(t, "cluster operations", got.IncludeClusterAuthorizedOperations, want.IncludeClusterAuthorizedOperations)
	equal(t, "topic operations", got.IncludeTopicAuthorizedOperations, want.IncludeTopicAuthorizedOperations)
}

// compareOwn compares what one of our own decoders makes of body with what kmsg
// makes of it.
func compareOwn(t *testing.T, h wire.Header, body []byte) {
	t.Helper()
	var err error
	switch h.Key {
	case produceKey:
		var got wire.ProduceRequest
		if err = got.Decode(h, body); err == nil {
			compareProduceRequest(t, &got, h.Version, body)
		}
	case fetchKey:
		var got wire.FetchRequest
		if err = got.Decode(h, body); err == nil {
			compareFetchRequest(t, &got, h.Version, body)
		}
	case metadataKey:
		var got wire.MetadataRequest
		if err = got.Decode(h, body); err == nil {
			compareMetadataRequest(t, &got, h.Version, body)
		}
	}
	if err != nil {
		t.Fatalf("the walk takes it, the decoder does not: %v", err)
	}
}

// A group keeps what its members sent; by then the frame's buffer holds another
// request.
func TestDecodedGroupRequestsDoNotAliasTheFrame(t *testing.T) {
	join := kmsg.NewPtrJoinGroupRequest()
	join.Version = 9
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("subscription")}}
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Version = 5
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: "m", MemberAssignment: []byte("assignment")}}
	for _, want := range []kmsg.Request{join, sync} {
		frame := want.AppendTo(nil)
		before := bytes.Clone(frame)
		got, err := wire.Decode(wire.Header{Key: want.Key(), Version: want.GetVersion()}, frame)
		if err != nil {
			t.Fatal(err)
		}
		clear(frame)
		if after := got.AppendTo(nil); !bytes.Equal(after, before) {
			t.Errorf("%T changed with the frame: %x, was %x", want, after, before)
		}
	}
}

func read(t *testing.T, req kmsg.Request, version int16, body []byte) {
	t.Helper()
	req.SetVersion(version)
	if err := req.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func equalID(t *testing.T, got *wire.TopicID, present bool, want [16]byte) {
	t.Helper()
	if equal(t, "topic ID is there", got != nil, present); present {
		equal(t, "topic ID", *got, want)
	}
}

func equalText(t *testing.T, what string, got []byte, want *string) {
	t.Helper()
	equal(t, what+" is null", got == nil, want == nil)
	if want != nil {
		equal(t, what, string(got), *want)
	}
}
