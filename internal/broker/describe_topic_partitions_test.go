package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"millrace/internal/broker"
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
	want := c.createABC()
	for limit := int32(1); limit <= 9; limit++ {
		for _, asked := range [][]string{nil, {"c", "a", "b", "a"}} {
			if seen := pagesOf(c, limit, asked...); !slices.Equal(seen, want) {
				t.Errorf("limit %d, asked for %v: seen %v, want %v", limit, asked, seen, want)
			}
		}
	}
}

// Whoever may not describe some of the topics gets the pages of the others, to
// the end, and no cursor that names one of those.
func TestDescribeTopicPartitionsWithoutTheRight(t *testing.T) {
	n := serveSecured(t, broker.Config{}, "ana", "eve")
	m := &matrix{node: n}
	all := m.login(t, "admin").createABC()
	n.allowed(t, kadm.NewACLs().Allow("User:ana").AllowHosts().Topics("b").Operations(kadm.OpDescribe).ResourcePatternType(kadm.ACLPatternLiteral))
	for limit := int32(1); limit <= 9; limit++ {
		for user, want := range map[string][]string{"admin": all, "ana": {"b0", "b1"}, "eve": nil} {
			if seen := pagesOf(m.login(t, user), limit); !slices.Equal(seen, want) {
				t.Errorf("limit %d: %s sees %v, want %v", limit, user, seen, want)
			}
		}
	}
}

// createABC makes three topics, and gives their partitions in order.
func (c *rawConn) createABC() (partitions []string) {
	for topic, count := range map[string]int32{"a": 3, "b": 2, "c": 4} {
		c.createTopic(topic, count)
		for p := range count {
			partitions = append(partitions, fmt.Sprint(topic, p))
		}
	}
	slices.Sort(partitions)
	return partitions
}

// pagesOf is the partitions that the client sees page by page.
func pagesOf(c *rawConn, limit int32, asked ...string) (seen []string) {
	c.t.Helper()
	var cursor *kmsg.DescribeTopicPartitionsRequestCursor
	for range 20 {
		page := topicPage(c, limit, cursor, asked...)
		before := len(seen)
		for _, topic := range page.Topics {
			for _, p := range topic.Partitions {
				seen = append(seen, fmt.Sprint(*topic.Topic, p.Partition))
			}
		}
		if shown := len(seen) - before; shown > int(limit) {
			c.t.Errorf("a page of %d partitions, the limit is %d", shown, limit)
		}
		if page.NextCursor == nil {
			return seen
		}
		cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: page.NextCursor.Topic, Partition: page.NextCursor.Partition}
	}
	c.t.Errorf("limit %d: the pages do not end", limit)
	return seen
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
