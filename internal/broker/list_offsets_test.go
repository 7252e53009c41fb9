package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/batch"
	"millrace/record"
)

func (c *rawConn) listOffset(topic string, partition int32, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	c.t.Helper()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	rt := kmsg.NewListOffsetsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewListOffsetsRequestTopicPartition()
	rp.Partition, rp.Timestamp = partition, timestamp
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return call[*kmsg.ListOffsetsResponse](c, 7, req).Topics[0].Partitions[0]
}

func TestListOffsets(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	base := time.Now().Add(-time.Hour).UnixMilli()
	for i, at := range []int64{base, base + 5000, base + 2000} {
		b := batch.NewBuilder(batch.BuilderOptions{ProducerID: batch.NoProducerID})
		b.Append(record.Timestamp(at), nil, fmt.Append(nil, i), nil)
		raw, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		if r := c.produce(-1, "a", 0, raw); r.ErrorCode != 0 {
			t.Fatalf("code %d", r.ErrorCode)
		}
	}
	for _, test := range []struct {
		what       string
		timestamp  int64
		offset, at int64
		code       int16
	}{
		{"latest", -1, 3, -1, 0},
		{"earliest", -2, 0, -1, 0},
		{"largest timestamp", -3, 1, base + 5000, 0},
		{"before all", base - 1, 0, base, 0},
		{"exactly", base, 0, base, 0},
		{"between", base + 1, 1, base + 5000, 0},
		{"after all", base + 5001, -1, -1, 0},
		{"a meaning of later versions", -4, -1, -1, 35},
	} {
		r := c.listOffset("a", 0, test.timestamp)
		if r.Offset != test.offset || r.Timestamp != test.at || r.ErrorCode != test.code {
			t.Errorf("%s: offset %d at %d code %d, want %d at %d code %d", test.what, r.Offset, r.Timestamp, r.ErrorCode, test.offset, test.at, test.code)
		}
	}
	if r := c.listOffset("a", 3, -1); r.ErrorCode != 3 {
		t.Errorf("unknown partition: code %d", r.ErrorCode)
	}
}

func (c *rawConn) deleteRecords(topic string, partition int32, before int64) kmsg.DeleteRecordsResponseTopicPartition {
	c.t.Helper()
	req := kmsg.NewPtrDeleteRecordsRequest()
	rt := kmsg.NewDeleteRecordsRequestTopic()
	rt.Topic = topic
	rp := kmsg.NewDeleteRecordsRequestTopicPartition()
	rp.Partition, rp.Offset = partition, before
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	return call[*kmsg.DeleteRecordsResponse](c, 2, req).Topics[0].Partitions[0]
}

func TestDeleteRecords(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	for i := range 5 {
		c.mustProduce("a", 0, fmt.Sprint(i))
	}
	for _, step := range []struct {
		before, low int64
		code        int16
	}{{2, 2, 0}, {1, 2, 0}, {99, -1, 1}, {-1, 5, 0}, {5, 5, 0}, {-2, -1, 1}} {
		r := c.deleteRecords("a", 0, step.before)
		if r.LowWatermark != step.low || r.ErrorCode != step.code {
			t.Errorf("before %d: start %d code %d, want %d and %d", step.before, r.LowWatermark, r.ErrorCode, step.low, step.code)
		}
	}
	if r := c.fetch(fetchAsk("a", 0, 4)); r.ErrorCode != 1 {
		t.Errorf("a deleted offset: code %d, want OFFSET_OUT_OF_RANGE (1)", r.ErrorCode)
	}
	if first := c.listOffset("a", 0, -2).Offset; first != 5 {
		t.Errorf("the log starts at %d, want 5", first)
	}
}
