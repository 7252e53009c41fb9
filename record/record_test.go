package record_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/record"
)

func TestTopicValidate(t *testing.T) {
	for _, good := range []record.Topic{"click_events", "a", "A.b-c_9", "__consumer_offsets", record.Topic(strings.Repeat("x", 249)), "..."} {
		if err := good.Validate(); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []record.Topic{"", ".", "..", "a/b", "a b", "ü", "a\x00", record.Topic(strings.Repeat("x", 250)), "../etc"} {
		if bad.Validate() == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestTimestampCutsToTheMillisecond(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 0, 0, 1_999_999, time.UTC)
	if got, want := record.TimestampOf(at).Time(), at.Truncate(time.Millisecond); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func ExampleTopicPartition_String() {
	fmt.Println(record.TopicPartition{Topic: "click_events", Partition: 3})
	// Output: click_events-3
}
