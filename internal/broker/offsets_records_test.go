package broker

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/group"
	"millrace/record"
)

// The values are those of Java: a data directory must mean the same to Kafka.
func TestGroupsLiveWhereKafkaPutsThem(t *testing.T) {
	for id, want := range map[string]struct {
		hash      int32
		of50, of4 int
	}{
		"":                    {0, 0, 0},
		"g":                   {103, 3, 3},
		"click_counter_group": {531270661, 11, 1},
		"Bücher":              {2125303756, 6, 0},
		"a😀z":                 {57849718, 18, 2},
		"polygenelubricants":  {-2147483648, 0, 0},
	} {
		if got := int32(javaHash(id)); got != want.hash {
			t.Errorf("%q: hash %d, want %d", id, got, want.hash)
		}
		if of50, of4 := partitionFor(id, 50), partitionFor(id, 4); of50 != want.of50 || of4 != want.of4 {
			t.Errorf("%q: partitions %d and %d, want %d and %d", id, of50, of4, want.of50, want.of4)
		}
	}
}

func TestOffsetRecordsRoundTrip(t *testing.T) {
	tp := record.TopicPartition{Topic: "t", Partition: 3}
	for _, want := range []group.Offset{
		{Offset: 5, LeaderEpoch: 2, Metadata: "text", CommittedAt: 1000, ExpiresAt: record.NoTimestamp},
		{Offset: 6, LeaderEpoch: -1, CommittedAt: 1000, ExpiresAt: 2000},
	} {
		r := offsetRecord("g", tp, want)
		id, gotTP, err := parseOffsetsKey(r.key)
		if err != nil || id != "g" || gotTP != tp {
			t.Errorf("key: %q %v %v", id, gotTP, err)
		}
		if got, err := parseOffsetValue(r.value); err != nil || got != want {
			t.Errorf("value: %+v, %v, want %+v", got, err, want)
		}
	}
}

func TestGroupRecordsRoundTrip(t *testing.T) {
	for _, want := range []group.Snapshot{
		{Generation: 7, ProtocolType: "consumer", Since: 99},
		{
			Generation: 8, ProtocolType: "consumer", Protocol: "range", Leader: "a", Since: 100,
			Members: []group.MemberSnapshot{
				{ID: "a", InstanceID: "i", ClientID: "c", ClientHost: "/::1", SessionTimeout: time.Second, RebalanceTimeout: time.Minute, Subscription: []byte{1}, Assignment: []byte{2}},
				{ID: "b", ClientID: "c", ClientHost: "/::1", SessionTimeout: time.Second, RebalanceTimeout: time.Minute, Subscription: []byte{3}, Assignment: []byte{}},
			},
		},
	} {
		r := groupRecord("g", want)
		if id, tp, err := parseOffsetsKey(r.key); err != nil || id != "g" || tp.Topic != "" {
			t.Errorf("key: %q %v %v", id, tp, err)
		}
		if got, err := parseGroupValue(r.value); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("value: %+v, %v, want %+v", got, err, want)
		}
	}
}

// A log that Kafka has written may hold older schemas and newer kinds.
func TestForeignOffsetsRecords(t *testing.T) {
	for version := range int16(5) {
		v := kmsg.OffsetCommitValue{Version: version, Offset: 5, LeaderEpoch: 3, Metadata: "m", CommitTimestamp: 9, ExpireTimestamp: -1}
		o, err := parseOffsetValue(v.AppendTo(nil))
		if err != nil || o.Offset != 5 || o.Metadata != "m" || o.CommittedAt != 9 || o.ExpiresAt != record.NoTimestamp {
			t.Errorf("offset value %d: %+v, %v", version, o, err)
		}
		gv := kmsg.GroupMetadataValue{Version: version, ProtocolType: "consumer", Generation: 4, Members: []kmsg.GroupMetadataValueMember{{MemberID: "m", SessionTimeoutMillis: 10}}}
		s, err := parseGroupValue(gv.AppendTo(nil))
		if err != nil || s.Generation != 4 || len(s.Members) != 1 || s.Members[0].SessionTimeout != 10*time.Millisecond {
			t.Errorf("group value %d: %+v, %v", version, s, err)
		}
	}
	for _, key := range [][]byte{nil, {0}, {0, 3, 0, 1, 'g'}, {0, 1, 0, 9, 'g'}, {0, 2}, {0xff, 0xff}} {
		if id, tp, err := parseOffsetsKey(key); err == nil {
			t.Errorf("key %v was taken for %q %v", key, id, tp)
		}
	}
	for _, value := range [][]byte{nil, {0}, {0, 9}, {0xff, 0xff, 0, 0}, {0, 3, 0, 0}} {
		if o, err := parseOffsetValue(value); err == nil {
			t.Errorf("offset value %v was taken for %+v", value, o)
		}
		if s, err := parseGroupValue(value); err == nil {
			t.Errorf("group value %v was taken for %+v", value, s)
		}
	}
}

// FuzzOffsetsRecords looks for panics in what the start reads, and for values
// that change when they are written again.
func FuzzOffsetsRecords(f *testing.F) {
	o := offsetRecord("g", record.TopicPartition{Topic: "t"}, group.Offset{Metadata: "m", ExpiresAt: record.NoTimestamp})
	g := groupRecord("g", group.Snapshot{Members: []group.MemberSnapshot{{ID: "m"}}})
	f.Add(o.key, o.value)
	f.Add(g.key, g.value)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		if id, tp, err := parseOffsetsKey(key); err == nil && tp.Topic != "" {
			again, tpAgain, err := parseOffsetsKey(offsetKey(id, tp))
			if again != id || tpAgain != tp || err != nil {
				t.Errorf("%q %v became %q %v, %v", id, tp, again, tpAgain, err)
			}
		}
		if o, err := parseOffsetValue(value); err == nil && o.ExpiresAt == record.NoTimestamp {
			again, err := parseOffsetValue(offsetRecord("g", record.TopicPartition{}, o).value)
			if again != o || err != nil {
				t.Errorf("%+v became %+v, %v", o, again, err)
			}
		}
		if s, err := parseGroupValue(value); err == nil {
			r := groupRecord("g", s)
			again, err := parseGroupValue(r.value)
			if err != nil || !bytes.Equal(groupRecord("g", again).value, r.value) {
				t.Errorf("%+v became %+v, %v", s, again, err)
			}
		}
	})
}
