package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/wire"
	"millrace/internal/wire/wiretest"
)

func TestProduceResponseReadsBackInKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(20, 0))
	var req wire.ProduceRequest
	var resp wire.ProduceResponse
	for version := int16(0); version <= 13; version++ {
		for range samples {
			body := wiretest.Filled(rng, produceKey, version).AppendTo(nil)
			if err := req.Decode(wire.Header{Key: produceKey, Version: version}, body); err != nil {
				t.Fatal(err)
			}
			resp.Reset(&req)
			names := topicNames(req.Topics, func(p wire.ProduceTopic) ([]byte, *wire.TopicID) { return p.Name, p.ID })
			clear(body) // the answer must not need the request's frame
			fillProduce(rng, &resp)
			got := kmsg.NewPtrProduceResponse()
			readResponse(t, got, version, wire.AppendResponse(nil, 77, &resp), 77)
			compareProduce(t, got, &resp, names)
		}
	}
}

func fillProduce(rng *rand.Rand, resp *wire.ProduceResponse) {
	resp.ThrottleMs = rng.Int32()
	for i := range resp.Partitions {
		p := &resp.Partitions[i]
		p.ErrorCode = int16(rng.Int32())
		p.BaseOffset, p.LogAppendTimeMs, p.LogStartOffset = rng.Int64(), rng.Int64(), rng.Int64()
		if rng.IntN(2) == 0 {
			p.ErrorMessage = "the record has no key"
		}
	}
}

func compareProduce(t *testing.T, got *kmsg.ProduceResponse, want *wire.ProduceResponse, names []string) {
	t.Helper()
	equal(t, "topics", len(got.Topics), len(names))
	if got.Version >= 1 {
		equal(t, "throttle", got.ThrottleMillis, want.ThrottleMs)
	}
	results := want.Partitions
	for i, topic := range got.Topics {
		equal(t, "topic", nameOrID(topic.Topic, got.Version >= 13, topic.TopicID), names[i])
		for j, p := range topic.Partitions {
			wp := results[j]
			equal(t, "partition", p.Partition, wp.Partition)
			equal(t, "error", p.ErrorCode, wp.ErrorCode)
			equal(t, "base offset", p.BaseOffset, wp.BaseOffset)
			if got.Version >= 2 {
				equal(t, "append time", p.LogAppendTime, wp.LogAppendTimeMs)
			}
			if got.Version >= 5 {
				equal(t, "log start", p.LogStartOffset, wp.LogStartOffset)
			}
			if got.Version >= 8 {
				equal(t, "message", textOf(p.ErrorMessage), wp.ErrorMessage)
			}
		}
		results = results[len(topic.Partitions):]
	}
	equal(t, "results left over", len(results), 0)
}

func TestFetchResponseReadsBackInKmsg(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 0))
	var req wire.FetchRequest
	var resp wire.FetchResponse
	for version := int16(4); version <= 18; version++ {
		for range samples {
			body := wiretest.Filled(rng, fetchKey, version).AppendTo(nil)
			if err := req.Decode(wire.Header{Key: fetchKey, Version: version}, body); err != nil {
				t.Fatal(err)
			}
			resp.Reset(&req)
			names := topicNames(req.Topics, func(p wire.FetchTopic) ([]byte, *wire.TopicID) { return p.Name, p.ID })
			clear(body)
			fillFetch(rng, &resp)
			got := kmsg.NewPtrFetchResponse()
			readResponse(t, got, version, slices.Concat(resp.AppendFrame(nil, 99)...), 99)
			compareFetch(t, got, &resp, names)
		}
	}
}

func TestLongMessagesAreCutAtARune(t *testing.T) {
	req := wire.ProduceRequest{Version: 9, Topics: []wire.ProduceTopic{{Partitions: make([]wire.ProducePartition, 1)}}, Partitions: make([]wire.ProducePartition, 1)}
	var resp wire.ProduceResponse
	resp.Reset(&req)
	resp.Fail(87, "x"+strings.Repeat("\u00fc", 40_000))
	got := kmsg.NewPtrProduceResponse()
	readResponse(t, got, 9, wire.AppendResponse(nil, 7, &resp), 7)
	message := textOf(got.Topics[0].Partitions[0].ErrorMessage)
	if !utf8.ValidString(message) || len(message) < 1000 || len(message) > 1024 {
		t.Errorf("the message became %d bytes, valid UTF-8: %v", len(message), utf8.ValidString(message))
	}
}

func fillFetch(rng *rand.Rand, resp *wire.FetchResponse) {
	resp.ThrottleMs, resp.ErrorCode, resp.SessionID = rng.Int32(), int16(rng.Int32()), rng.Int32()
	if rng.IntN(2) == 0 {
		resp.Leader = wire.NodeEndpoint{ID: rng.Int32(), Host: strings.Repeat("h", rng.IntN(300)), Port: rng.Int32()}
	}
	sizes := []int{0, 1, 100, 1024, 1025, 5000}
	for i := range resp.Partitions {
		p := &resp.Partitions[i]
		p.ErrorCode = int16(rng.Int32())
		p.HighWatermark, p.LastStableOffset, p.LogStartOffset = rng.Int64(), rng.Int64(), rng.Int64()
		p.Records = bytes.Repeat([]byte{byte(i)}, sizes[rng.IntN(len(sizes))])
		for range rng.IntN(3) {
			p.Aborted = append(p.Aborted, wire.AbortedTransaction{ProducerID: rng.Int64(), FirstOffset: rng.Int64()})
		}
		if rng.IntN(3) == 0 {
			p.DivergingEpoch, p.DivergingEndOffset = rng.Int32(), rng.Int64()
		}
		if rng.IntN(3) == 0 {
			p.LeaderID, p.LeaderEpoch = rng.Int32(), rng.Int32()
		}
	}
}

func compareFetch(t *testing.T, got *kmsg.FetchResponse, want *wire.FetchResponse, names []string) {
	t.Helper()
	equal(t, "topics", len(got.Topics), len(names))
	equal(t, "throttle", got.ThrottleMillis, want.ThrottleMs)
	if got.Version >= 7 {
		equal(t, "error", got.ErrorCode, want.ErrorCode)
		equal(t, "session", got.SessionID, want.SessionID)
	}
	if got.Version >= 16 && want.Leader.Host != "" {
		equal(t, "brokers", len(got.Brokers), 1)
		b := got.Brokers[0]
		equal(t, "leader's endpoint", wire.NodeEndpoint{ID: b.NodeID, Host: b.Host, Port: b.Port}, want.Leader)
		equal(t, "rack", b.Rack, nil)
	} else {
		equal(t, "brokers", len(got.Brokers), 0)
	}
	results := want.Partitions
	for i, topic := range got.Topics {
		equal(t, "topic", nameOrID(topic.Topic, got.Version >= 13, topic.TopicID), names[i])
		for j := range topic.Partitions {
			compareFetchResult(t, got.Version, &topic.Partitions[j], &results[j])
		}
		results = results[len(topic.Partitions):]
	}
	equal(t, "results left over", len(results), 0)
}

func compareFetchResult(t *testing.T, version int16, got *kmsg.FetchResponseTopicPartition, want *wire.FetchResult) {
	t.Helper()
	equal(t, "partition", got.Partition, want.Partition)
	equal(t, "error", got.ErrorCode, want.ErrorCode)
	equal(t, "high watermark", got.HighWatermark, want.HighWatermark)
	equal(t, "last stable", got.LastStableOffset, want.LastStableOffset)
	if version >= 5 {
		equal(t, "log start", got.LogStartOffset, want.LogStartOffset)
	}
	equal(t, "preferred replica", got.PreferredReadReplica, -1)
	equal(t, "null records", got.RecordBatches == nil, false)
	equal(t, "records", string(got.RecordBatches), string(want.Records))
	if version >= 12 {
		equal(t, "diverging epoch", got.DivergingEpoch.Epoch, want.DivergingEpoch)
		equal(t, "diverging end", got.DivergingEpoch.EndOffset, want.DivergingEndOffset)
		equal(t, "leader", got.CurrentLeader.LeaderID, want.LeaderID)
		equal(t, "leader epoch", got.CurrentLeader.LeaderEpoch, want.LeaderEpoch)
	}
	equal(t, "aborted", len(got.AbortedTransactions), len(want.Aborted))
	for i, a := range got.AbortedTransactions {
		equal(t, "aborted producer", a.ProducerID, want.Aborted[i].ProducerID)
		equal(t, "aborted offset", a.FirstOffset, want.Aborted[i].FirstOffset)
	}
}

// Records are handed on, not copied, once they are larger than a kilobyte.
func TestFetchResponseSendsRecordsWithoutCopying(t *testing.T) {
	req := wire.FetchRequest{Version: 12, Topics: []wire.FetchTopic{{Name: []byte("t"), Partitions: make([]wire.FetchPartition, 1)}}, Partitions: make([]wire.FetchPartition, 1)}
	var resp wire.FetchResponse
	resp.Reset(&req)
	records := make([]byte, 1<<20)
	resp.Partitions[0].Records = records
	for _, piece := range resp.AppendFrame(nil, 1) {
		if len(piece) == len(records) && &piece[0] == &records[0] {
			return
		}
	}
	t.Error("no piece of the frame is the record set itself")
}

// The header of an ApiVersions response has no tags in any version (KIP-511),
// while other flexible responses have them.
func TestOnlyApiVersionsAnswersWithTheOldHeader(t *testing.T) {
	for version := int16(0); version <= 4; version++ {
		resp := wire.ApiVersionsResponse(version)
		frame := wire.AppendResponse(nil, 5, resp)
		if body := frame[8:]; !bytes.Equal(body, resp.AppendTo(nil)) {
			t.Errorf("ApiVersions v%d: the body does not follow the correlation ID at once: %x", version, frame[:12])
		}
	}
	heartbeat := kmsg.NewPtrHeartbeatResponse()
	heartbeat.Version = 4
	if frame := wire.AppendResponse(nil, 5, heartbeat); frame[8] != 0 || !bytes.Equal(frame[9:], heartbeat.AppendTo(nil)) {
		t.Errorf("Heartbeat v4: no empty tag section behind the correlation ID: %x", frame)
	}
}

func TestApiVersionsResponseHoldsTheServedTable(t *testing.T) {
	resp := wire.ApiVersionsResponse(4)
	equal(t, "keys", len(resp.ApiKeys), len(wire.Served()))
	for i, api := range wire.Served() {
		k := resp.ApiKeys[i]
		equal(t, api.Name, wire.API{Key: k.ApiKey, Min: k.MinVersion, Max: k.MaxVersion, Name: api.Name}, api)
	}
}

// The feature and the versions that belong to it come together (T3).
func TestTransactionVersion2IsWholeOrAbsent(t *testing.T) {
	max := map[int16]int16{}
	for _, api := range wire.Served() {
		max[api.Key] = api.Max
	}
	equal(t, "Produce", max[0] >= 12, true)
	equal(t, "EndTxn", max[26], 5)
	equal(t, "TxnOffsetCommit", max[28], 5)
	for version := int16(0); version <= 4; version++ {
		resp := wire.ApiVersionsResponse(version)
		equal(t, "features", len(resp.FinalizedFeatures) == 1 && resp.FinalizedFeatures[0].MaxVersionLevel == 2 && resp.FinalizedFeaturesEpoch >= 0, version >= 3)
	}
}

func TestUnsupportedApiVersionsIsReadableInVersion0(t *testing.T) {
	frame := wire.AppendUnsupportedApiVersions(nil, 1234)
	got := kmsg.NewPtrApiVersionsResponse()
	readResponse(t, got, 0, frame, 1234)
	equal(t, "error", got.ErrorCode, 35)
	equal(t, "ranges", len(got.ApiKeys), 1)
	equal(t, "range", got.ApiKeys[0].ApiKey, 18)
	equal(t, "max", got.ApiKeys[0].MaxVersion, 4)
}

func TestValidSoftwareName(t *testing.T) {
	for name, want := range map[string]bool{
		"apache-kafka-java": true, "librdkafka": true, "v1.2.3-rc1": true, "7": true, "kafka-python": true,
		"": false, "-kafka": false, "kafka.": false, "kafka python": false, "kafka\n": false, "käfka": false, ".": false,
	} {
		equal(t, name, wire.ValidSoftwareName(name), want)
	}
}

// readResponse checks the frame's own parts, then reads its body; what kmsg
// reads it must also write, byte for byte.
func readResponse(t *testing.T, resp kmsg.Response, version int16, frame []byte, correlationID uint32) {
	t.Helper()
	resp.SetVersion(version)
	equal(t, "frame length", binary.BigEndian.Uint32(frame), uint32(len(frame)-4))
	equal(t, "correlation ID", binary.BigEndian.Uint32(frame[4:]), correlationID)
	body := frame[8:]
	if resp.IsFlexible() && resp.Key() != apiVersionsKey {
		equal(t, "header tags", body[0], 0)
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if again := resp.AppendTo(nil); !bytes.Equal(again, body) {
		t.Fatalf("v%d: kmsg writes it differently\n got %x\nkmsg %x", version, body, again)
	}
}

// topicNames are the names of a request's topics, or the digits of their IDs.
func topicNames[T any](topics []T, nameOrID func(T) ([]byte, *wire.TopicID)) []string {
	names := make([]string, 0, len(topics))
	for _, topic := range topics {
		name, id := nameOrID(topic)
		if id != nil {
			name = fmt.Appendf(nil, "%x", *id)
		}
		names = append(names, string(name))
	}
	return names
}

// nameOrID is what topicNames gives for a topic of a response.
func nameOrID(name string, byID bool, id [16]byte) string {
	if byID {
		return fmt.Sprintf("%x", id)
	}
	return name
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
