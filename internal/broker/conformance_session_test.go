package broker_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// session sends the requests of one conformance script to one broker and keeps
// a transcript in which everything that may legally differ between two brokers
// (addresses, ids, clocks) is replaced by a stable name.
type session struct {
	t     *testing.T
	conn  net.Conn
	form  *kmsg.RequestFormatter
	corr  int32
	names map[string]string // a broker's own ids, by order of appearance
	steps []step

	topics map[string]string // topic IDs by their digits
	addr   string            // for another connection
	suffix string            // of transactional IDs, which no two sessions share; the transcript leaves it out
}

// step is one exchange: the request's name and the flattened, normalised answer.
type step struct {
	request string
	fields  map[string]string
}

func dialSession(t *testing.T, addr string) *session {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &session{
		t: t, conn: conn, names: map[string]string{}, topics: map[string]string{fmt.Sprint(noSuchTopic): "<no such topic>"},
		suffix: fmt.Sprintf("-%08x", rand.Uint32()),
		form:   kmsg.NewRequestFormatter(kmsg.FormatterClientID("conformance")),
	}
}

// do sends req at the given version and records the normalised answer.
func do[R kmsg.Response](s *session, version int16, req kmsg.Request) R {
	s.t.Helper()
	resp := send[R](s, version, req)
	s.record(req, version, resp)
	return resp
}

// send sends req without a place in the transcript.
func send[R kmsg.Response](s *session, version int16, req kmsg.Request) R {
	s.t.Helper()
	req.SetVersion(version)
	s.write(req)
	resp := req.ResponseKind()
	s.read(resp)
	typed, ok := resp.(R)
	if !ok {
		s.t.Fatalf("answer of %s is %T", kmsg.NameForKey(req.Key()), resp)
	}
	return typed
}

func (s *session) write(req kmsg.Request) {
	s.t.Helper()
	s.corr++
	frame := s.form.AppendRequest(nil, req, s.corr)
	_ = s.conn.SetDeadline(time.Now().Add(givesUp))
	if _, err := s.conn.Write(frame); err != nil {
		s.t.Fatalf("%s: %v", kmsg.NameForKey(req.Key()), err)
	}
}

func (s *session) read(resp kmsg.Response) {
	s.t.Helper()
	name := kmsg.NameForKey(resp.Key())
	var size [4]byte
	if _, err := io.ReadFull(s.conn, size[:]); err != nil {
		s.t.Fatalf("%s v%d: reading the answer: %v", name, resp.GetVersion(), err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(s.conn, body); err != nil {
		s.t.Fatalf("%s: reading %d bytes of answer: %v", name, len(body), err)
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != s.corr {
		s.t.Fatalf("%s: correlation id %d, want %d", name, got, s.corr)
	}
	body = body[4:]
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		if len(body) == 0 || body[0] != 0 {
			s.t.Fatalf("%s: response header has no empty tag section", name)
		}
		body = body[1:]
	}
	if err := resp.ReadFrom(body); err != nil {
		s.t.Fatalf("%s v%d: decoding the answer: %v", name, resp.GetVersion(), err)
	}
}

func (s *session) record(req kmsg.Request, version int16, resp kmsg.Response) {
	s.t.Helper()
	raw, err := json.Marshal(resp)
	if err != nil {
		s.t.Fatal(err)
	}
	var tree any
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	if err := dec.Decode(&tree); err != nil {
		s.t.Fatal(err)
	}
	if fetched, ok := resp.(*kmsg.FetchResponse); ok {
		tree = fetchTree(fetched)
	}
	fields := map[string]string{}
	flatten("", s.normal("", tree), fields)
	s.steps = append(s.steps, step{request: fmt.Sprintf("%s v%d", kmsg.NameForKey(req.Key()), version), fields: fields})
}

// dropped are the fields in which two right brokers may differ freely.
var dropped = []string{"UnknownTags", "Version", "ThrottleMillis", "ErrorMessage", "Host", "Port", "Rack", "ClusterID",
	"AuthorizedOperations", "ClusterAuthorizedOperations", "NodeID", "ControllerID", "Leader", "LeaderEpoch", "Replicas", "ISR",
	"OfflineReplicas", "LogDir", "Documentation", "ClientHost", "ReplicationFactor", "LastTimestamp", "StartTimestamp", "Size", "TotalBytes", "UsableBytes", "Dir"}

// named are the ids that a broker makes up.
var named = []string{"MemberID", "LeaderID", "ProducerID", "TopicID"}

func (s *session) normal(field string, node any) any {
	switch v := node.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, key := range slices.Sorted(maps.Keys(v)) { // in order: names are given as they appear
			if !slices.Contains(dropped, key) {
				out[key] = s.normal(key, v[key])
			}
		}
		return out
	case []any:
		if field == "TopicID" {
			return s.topicName(fmt.Sprint(v))
		}
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = s.normal("", value)
		}
		slices.SortFunc(out, func(a, b any) int { return strings.Compare(canonical(a), canonical(b)) })
		return out
	case string, json.Number:
		if field == "CoordinatorEpoch" && fmt.Sprint(v) != "-1" {
			return "<some epoch>"
		}
		text := strings.ReplaceAll(fmt.Sprint(v), s.suffix, "")
		if slices.Contains(named, field) && text != "" && text != "-1" {
			return s.alias(field, text)
		}
		return text
	default:
		return fmt.Sprint(v)
	}
}

// topicName is what the transcript calls a topic ID: by the topic's name, which
// learn has asked for.
func (s *session) topicName(id string) string {
	switch name := s.topics[id]; {
	case name != "":
		return name
	case id == fmt.Sprint([16]byte{}):
		return "<none>"
	}
	return "<some topic>"
}

// learn asks for the topic's ID, and has the transcript call it so from now on.
func learn(s *session, topic, as string) [16]byte {
	s.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	id := send[*kmsg.MetadataResponse](s, 12, req).Topics[0].TopicID
	s.topics[fmt.Sprint(id)] = as
	return id
}

// topicCalled is the ID that learn has named so.
func (s *session) topicCalled(name string) [16]byte {
	for _, known := range slices.Sorted(maps.Keys(s.topics)) {
		if s.topics[known] != name {
			continue
		}
		var id [16]byte
		for i, digits := range strings.Fields(strings.Trim(known, "[]")) {
			b, _ := strconv.Atoi(digits)
			id[i] = byte(b)
		}
		return id
	}
	s.t.Fatalf("no topic is called %s", name)
	return [16]byte{}
}

func (s *session) alias(field, value string) string {
	kind := strings.TrimSuffix(strings.TrimSuffix(field, "ID"), "Leader")
	if field == "LeaderID" || field == "MemberID" {
		kind = "member"
	}
	if s.names[value] == "" {
		s.names[value] = fmt.Sprintf("<%s %d>", strings.ToLower(kind), len(s.names)+1)
	}
	return s.names[value]
}

func canonical(node any) string {
	raw, _ := json.Marshal(node) // maps marshal with sorted keys
	return string(raw)
}

func flatten(path string, node any, into map[string]string) {
	switch v := node.(type) {
	case map[string]any:
		for key, value := range v {
			flatten(path+"."+key, value, into)
		}
	case []any:
		into[path+".len"] = fmt.Sprint(len(v))
		for i, value := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), value, into)
		}
	default:
		into[path] = fmt.Sprint(v)
	}
}

// fetchTree shows fetched bytes as records, so that brokers may cut batches as they like.
func fetchTree(resp *kmsg.FetchResponse) any {
	tree := map[string]any{"ErrorCode": fmt.Sprint(resp.ErrorCode)}
	var partitions []any
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			var records []any
			for _, r := range decodeRecords(p.RecordBatches) {
				records = append(records, r)
			}
			partitions = append(partitions, map[string]any{
				"Topic": topic.Topic, "TopicID": digits(topic.TopicID), "Partition": fmt.Sprint(p.Partition), "ErrorCode": fmt.Sprint(p.ErrorCode),
				"HighWatermark": fmt.Sprint(p.HighWatermark), "LogStartOffset": fmt.Sprint(p.LogStartOffset), "Records": records,
				"LastStableOffset": fmt.Sprint(p.LastStableOffset), "NullRecords": fmt.Sprint(p.RecordBatches == nil), "Aborted": abortedTree(p.AbortedTransactions),
			})
		}
	}
	tree["Partitions"] = partitions
	return tree
}

// digits is a topic ID as JSON shows it.
func digits(id [16]byte) []any {
	var all []any
	for _, b := range id {
		all = append(all, json.Number(fmt.Sprint(b)))
	}
	return all
}

func abortedTree(aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction) []any {
	var all []any
	for _, a := range aborted {
		all = append(all, map[string]any{"ProducerID": json.Number(fmt.Sprint(a.ProducerID)), "FirstOffset": fmt.Sprint(a.FirstOffset)})
	}
	return all
}

func decodeRecords(raw []byte) []string {
	var out []string
	for len(raw) >= 61 {
		size := 12 + int(binary.BigEndian.Uint32(raw[8:]))
		if size > len(raw) {
			break
		}
		var b kmsg.RecordBatch
		if err := b.ReadFrom(raw[:size]); err != nil {
			return append(out, "unreadable batch: "+err.Error())
		}
		rest := b.Records
		for range b.NumRecords {
			length, n := binary.Varint(rest)
			var r kmsg.Record
			if n <= 0 || int(length)+n > len(rest) || r.ReadFrom(rest[:n+int(length)]) != nil {
				return append(out, "unreadable record")
			}
			shown := fmt.Sprintf("%s=%s", r.Key, r.Value)
			if b.Attributes&0x20 != 0 {
				shown = fmt.Sprintf("marker %x", r.Key) // its value holds the coordinator's epoch
			}
			out = append(out, fmt.Sprintf("%06d %s", b.FirstOffset+int64(r.OffsetDelta), shown))
			rest = rest[n+int(length):]
		}
		raw = raw[size:]
	}
	return out
}

// batchSpec describes a record batch; the bytes are made here, by other code
// than the product's, so that the product's own builder cannot hide a fault.
type batchSpec struct {
	values   []string
	producer int64 // -1: not idempotent
	epoch    int16
	sequence int32
	attrs    int16
	at       int64 // timestamp of all records, ms
	magic    int8
	spoilCRC bool
}

func plain(values ...string) batchSpec {
	return batchSpec{values: values, producer: -1, epoch: -1, sequence: -1, magic: 2, at: 1_700_000_000_000}
}

func (spec batchSpec) bytes() []byte {
	var records []byte
	for i, value := range spec.values {
		r := kmsg.Record{OffsetDelta: int32(i), Key: []byte("k"), Value: []byte(value)}
		body := r.AppendTo(nil)
		_, n := binary.Varint(body)
		r.Length = int32(len(body) - n)
		records = r.AppendTo(records)
	}
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: spec.magic, Attributes: spec.attrs, LastOffsetDelta: int32(len(spec.values) - 1),
		FirstTimestamp: spec.at, MaxTimestamp: spec.at, ProducerID: spec.producer, ProducerEpoch: spec.epoch,
		FirstSequence: spec.sequence, NumRecords: int32(len(spec.values)), Records: records,
	}
	b.Length = int32(len(b.AppendTo(nil)) - 12)
	raw := b.AppendTo(nil)
	sum := crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))
	if spec.spoilCRC {
		sum++
	}
	binary.BigEndian.PutUint32(raw[17:], sum)
	return raw
}
