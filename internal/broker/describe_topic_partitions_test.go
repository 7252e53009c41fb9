package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func topicPage(c *rawConn, limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor, topics ...string) *kmsg.DescribeTopicPartitionsResponse {
	c.t.Helper()
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit, req.Cursor = limit, cursor
	for _, name := range topics {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	return call[*kmsg.DescribeTopicPartitionsResponse](c, 0, req)
}

// Pages of every size show each partition once, in order, whatever the order in
// which the client names the topics.
func TestDescribeTopicPartitionsInPages(t *testing.T) {
	c := dial(t, startBroker(t))
	var want []string
	for topic, partitions := range map[string]int32{"a": 3, "b": 1, "c": 4} {
		c.createTopic(topic, partitions)
		for p := range partitions {
			want = append(want, fmt.Sprint(topic, p))
		}
	}
	slices.Sort(want)
	for limit := int32(1); limit <= 9; limit++ {
		for _, asked := range [][]string{nil, {"c", "a", "b", "a"}} {
			var seen []string
			var cursor *kmsg.DescribeTopicPartitionsRequestCursor
			for pages := 0; pages < 20; pages++ {
				page := topicPage(c, limit, cursor, asked...)
				shown := 0
				for _, topic := range page.Topics {
					shown += len(topic.Partitions)
					for _, p := range topic.Partitions {
						seen = append(seen, fmt.Sprint(*topic.Topic, p.Partition))
					}
				}
				if shown > int(limit) {
					t.Errorf("a page of %d partitions, the limit is %d", shown, limit)
				}
				if page.NextCursor == nil {
					break
				}
				cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: page.NextCursor.Topic, Partition: page.NextCursor.Partition}
			}
			if !slices.Equal(seen, want) {
				t.Errorf("limit %d, asked for %v: seen %v, want %v", limit, asked, seen, want)
			}
		}
	}
}

func TestDescribeTopicPartitionsOfNoTopic(t *testing.T) {
	c := dial(t, startBroker(t))
	c.createTopic("a", 1)
	page := topicPage(c, 10, nil, "a", "missing", "not/legal")
	for i, want := range []int16{0, 3, 17} {
		if got := page.Topics[i].ErrorCode; got != want {
			t.Errorf("%s: code %d, want %d", *page.Topics[i].Topic, got, want)
		}
	}
	if page.Topics[0].TopicID != c.topicID("a") {
		t.Errorf("topic ID %x", page.Topics[0].TopicID)
	}
	wrong := topicPage(c, 10, &kmsg.DescribeTopicPartitionsRequestCursor{Topic: "a", Partition: -1}, "a")
	if wrong.Topics[0].ErrorCode != 42 {
		t.Errorf("a cursor at partition -1: code %d, want INVALID_REQUEST (42)", wrong.Topics[0].ErrorCode)
	}
}
