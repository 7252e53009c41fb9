package client

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"millrace/record"
)

// PassDamage moves a consumer without a group behind records that the broker
// reports as damaged, see [CorruptError]: in tp, whose offset from is damaged,
// it goes on at the next offset that the broker serves, and returns that one.
//
// It asks offset by offset, so that no sound record is passed over: some ten
// thousand per second. end is where the log ends; behind it there is nothing to
// ask for.
func (c *Consumer) PassDamage(ctx context.Context, tp record.TopicPartition, from, end record.Offset) (record.Offset, error) {
	next, err := c.firstServed(ctx, tp, from, end)
	if err != nil {
		return from, fmt.Errorf("look behind the damage in %s at offset %d: %w", tp, from, translate(err, c.config.Brokers))
	}
	c.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{
		string(tp.Topic): {int32(tp.Partition): {Epoch: -1, Offset: int64(next)}},
	})
	return next, nil
}

func (c *Consumer) firstServed(ctx context.Context, tp record.TopicPartition, from, end record.Offset) (record.Offset, error) {
	// Fetch 12 is the newest version that names topics by name.
	prober, err := c.config.connect(kgo.MaxVersions(kversion.V2_7_0()))
	if err != nil {
		return 0, err
	}
	defer prober.Close()
	leader, _, err := c.client.PartitionLeader(string(tp.Topic), int32(tp.Partition))
	if err != nil {
		return 0, err
	}
	if _, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, prober); err != nil { // tells the prober where brokers are
		return 0, err
	}
	for offset := from + 1; offset < end; offset++ {
		err := probe(ctx, prober.Broker(int(leader)), tp, offset)
		if err == nil {
			return offset, nil
		}
		if !isAny(err, kerr.CorruptMessage) {
			return 0, err
		}
	}
	return end, nil
}

// probe asks for one byte at offset; a broker answers with a batch or an error.
func probe(ctx context.Context, leader *kgo.Broker, tp record.TopicPartition, offset record.Offset) error {
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition = int32(tp.Partition)
	partition.FetchOffset = int64(offset)
	partition.PartitionMaxBytes = 1
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = string(tp.Topic)
	topic.Partitions = append(topic.Partitions, partition)
	request := kmsg.NewPtrFetchRequest()
	request.MaxBytes = 1
	request.MinBytes = 0
	request.Topics = append(request.Topics, topic)
	response, err := leader.RetriableRequest(ctx, request)
	if err != nil {
		return err
	}
	fetch := response.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(fetch.ErrorCode); err != nil {
		return err
	}
	if len(fetch.Topics) != 1 || len(fetch.Topics[0].Partitions) != 1 {
		return fmt.Errorf("the broker answered for %d topics instead of one", len(fetch.Topics))
	}
	return kerr.ErrorForCode(fetch.Topics[0].Partitions[0].ErrorCode)
}
