package wire

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// fact is one field of a Kafka schema, over all versions.
type fact struct {
	path, typ       string
	versions, nulls versionRange
	taggedVersions  versionRange
	tag             string
}

// kafkaSchema is one request of testdata/kafka-4.3.1-requests.txt.
type kafkaSchema struct {
	name            string
	valid, flexible versionRange
	facts           []fact
}

type versionRange struct{ first, last int16 }

func (r versionRange) has(v int16) bool { return r.first <= v && v <= r.last }

// parseRange reads Kafka's "3", "3+", "3-9", and "-" or "none" for no version.
func parseRange(t *testing.T, s string) versionRange {
	t.Helper()
	if s == "-" || s == "none" {
		return versionRange{first: never, last: never - 1}
	}
	if from, open := strings.CutSuffix(s, "+"); open {
		return versionRange{first: number(t, from), last: never}
	}
	from, to, ranged := strings.Cut(s, "-")
	if !ranged {
		to = from
	}
	return versionRange{first: number(t, from), last: number(t, to)}
}

func number(t *testing.T, s string) int16 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return int16(n)
}

func readKafkaSchemas(t *testing.T) map[int16]*kafkaSchema {
	t.Helper()
	text, err := os.ReadFile("testdata/kafka-4.3.1-requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[int16]*kafkaSchema{}
	var current *kafkaSchema
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) != 5 || words[0] == "#":
		case words[0] == "api":
			current = &kafkaSchema{name: words[2], valid: parseRange(t, words[3]), flexible: parseRange(t, words[4])}
			schemas[number(t, words[1])] = current
		default:
			current.facts = append(current.facts, parseFact(t, words))
		}
	}
	return schemas
}

func parseFact(t *testing.T, words []string) fact {
	t.Helper()
	tagged, tag, _ := strings.Cut(words[4], ":")
	return fact{
		path: words[0], typ: words[1], versions: parseRange(t, words[2]),
		nulls: parseRange(t, words[3]), taggedVersions: parseRange(t, tagged), tag: tag,
	}
}

// describe lists the schema's fields in one version, in wire order.
func (s *kafkaSchema) describe(version int16) []string {
	var lines []string
	absent := "\x00" // path of a struct that the version lacks
	for _, f := range s.facts {
		if strings.HasPrefix(f.path, absent+".") {
			continue
		}
		if !f.versions.has(version) {
			absent = f.path
			continue
		}
		tag := ""
		if f.taggedVersions.has(version) {
			tag = f.tag
		}
		lines = append(lines, fieldLine(f.path, f.typ, f.nulls.has(version), tag))
	}
	return lines
}

func fieldLine(path, typ string, nullable bool, tag string) string {
	return fmt.Sprintf("%s %s null=%v tag=%s", path, typ, nullable, tag)
}

func describeFields(fields []field, path string, version int16) []string {
	var lines []string
	for _, f := range fields {
		if !f.in(version) {
			continue
		}
		tag := ""
		if f.tag != noTag {
			tag = strconv.Itoa(int(f.tag))
		}
		lines = append(lines, fieldLine(path+f.name, f.typ, f.nullableIn(version), tag))
		if f.elem != nil && !f.bare {
			lines = append(lines, describeFields(f.elem, path+f.name+".", version)...)
		}
	}
	return lines
}

// kindsKnown is how many request kinds there are at least: a table that lost one
// would pass every test that walks it.
const kindsKnown = 43

// Each field of each version is the one of Kafka's own schema, in the
// same order.
func TestRequestsAreThoseOfKafka(t *testing.T) {
	kafka := readKafkaSchemas(t)
	if len(requests()) < kindsKnown {
		t.Errorf("%d request kinds are known, want at least %d", len(requests()), kindsKnown)
	}
	for _, r := range requests() {
		schema := kafka[r.key]
		if schema == nil {
			t.Errorf("%s (%d) is not in the facts file", r.name, r.key)
			continue
		}
		if r.name != schema.name {
			t.Errorf("key %d is called %s, in Kafka %s", r.key, r.name, schema.name)
		}
		for v := r.min; v <= r.max; v++ {
			if flexible := v >= r.flexible; flexible != schema.flexible.has(v) {
				t.Errorf("%s v%d: flexible is %v, in Kafka %v", r.name, v, flexible, !flexible)
			}
			got, want := describeFields(r.fields, "", v), schema.describe(v)
			if !slices.Equal(got, want) {
				t.Errorf("%s v%d\n got %s\nwant %s", r.name, v, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
			}
		}
	}
}

// What can be read exists in Kafka 4.3.1, except Produce 0 to 2, which Kafka
// advertises as well without taking them.
func TestKnownVersionsAreThoseOfKafka(t *testing.T) {
	kafka := readKafkaSchemas(t)
	for _, r := range requests() {
		valid := kafka[r.key].valid
		if r.key == produceKey {
			valid.first = 0
		}
		if !valid.has(r.min) || !valid.has(r.max) || r.min > r.max {
			t.Errorf("%s: versions %d to %d are known, Kafka has %d to %d", r.name, r.min, r.max, valid.first, valid.last)
		}
	}
}

// The APIs that carry topic IDs in later versions have them together or not at
// all, and Produce not before them.
func TestTopicIDsAreServedTogether(t *testing.T) {
	withIDs := 0
	for _, api := range []struct{ key, first int16 }{{1, 13}, {3, 10}, {8, 10}, {9, 10}} {
		if Supports(api.key, api.first) {
			withIDs++
		}
	}
	if withIDs != 0 && withIDs != 4 {
		t.Errorf("%d of 4 APIs are served with topic IDs", withIDs)
	}
	if Supports(produceKey, 13) && withIDs == 0 {
		t.Error("Produce is served with topic IDs, Metadata is not")
	}
}

// So have the APIs of KIP-890's second part.
func TestTransactionVersion2IsServedTogether(t *testing.T) {
	const txnOffsetCommit, endTxn = 28, 26
	produce := Supports(produceKey, 12)
	if Supports(endTxn, 5) != produce || Supports(txnOffsetCommit, 5) != produce {
		t.Errorf("served are Produce 12: %v, EndTxn 5: %v, TxnOffsetCommit 5: %v", produce, Supports(endTxn, 5), Supports(txnOffsetCommit, 5))
	}
}

// What is served can be read, and each line of announced is found.
func TestServedIsKnown(t *testing.T) {
	for _, v := range announced {
		if known(v.key, v.min) == nil || known(v.key, v.max) == nil || byKey[v.key].served != v {
			t.Errorf("%s: versions %d to %d are announced, but cannot all be read", Name(v.key), v.min, v.max)
		}
	}
}

func TestServedAscendsByKey(t *testing.T) {
	keys := make([]int16, 0, len(announced))
	for _, api := range Served() {
		keys = append(keys, api.Key)
		if !Supports(api.Key, api.Min) || !Supports(api.Key, api.Max) || Supports(api.Key, api.Max+1) || Supports(api.Key, api.Min-1) {
			t.Errorf("%s: Supports does not agree with its range", api.Name)
		}
	}
	if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != len(keys) {
		t.Errorf("keys do not ascend: %v", keys)
	}
	for _, key := range []int16{-1, 4, 127, 128, 9999, never} {
		if Supports(key, 0) {
			t.Errorf("key %d is not served", key)
		}
	}
}

// The arrays that our own decoders count lie where they look.
func TestArraySlots(t *testing.T) {
	slots := map[string]int{}
	var collect func(s *shape)
	collect = func(s *shape) {
		for _, n := range s.nodes {
			if n.kind == list {
				slots[n.name] = n.slot
			}
			if n.elem != nil {
				collect(n.elem)
			}
		}
	}
	for _, key := range []int16{produceKey, fetchKey, metadataKey} {
		a := byKey[key]
		collect(a.shape(a.max))
	}
	want := map[string]int{
		"TopicData": produceTopics, "PartitionData": producePartitions, "ForgottenTopicsData": forgottenTopics,
	}
	for name, slot := range want {
		if got, ok := slots[name]; !ok || got != slot {
			t.Errorf("%s is array %d, want %d", name, got, slot)
		}
	}
	for _, a := range readable {
		for i := range a.shapes {
			checkElements(t, &a, &a.shapes[i])
			if c := a.shapes[i].lists; c > len(walker{}.counts) {
				t.Errorf("%s has %d arrays: walker counts %d", a.name, c, len(walker{}.counts))
			}
		}
	}
}

// An element takes at least a byte: a count is divided by it.
func checkElements(t *testing.T, a *api, s *shape) {
	t.Helper()
	for _, n := range s.nodes {
		if n.elem == nil {
			continue
		}
		if n.elem.min < 1 {
			t.Errorf("%s: an element of %s may take no bytes", a.name, n.name)
		}
		checkElements(t, a, n.elem)
	}
}
