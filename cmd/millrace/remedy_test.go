package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/internal/client"
	"millrace/internal/engine"
	"millrace/record"
)

// What does not pass by itself has a remedy, however deep it lies; the rest is
// waited for.
func TestWhatStoppedForGoodHasARemedy(t *testing.T) {
	tp := record.TopicPartition{Topic: "click_events", Partition: 3}
	for err, want := range map[error]string{
		client.CorruptError{TopicPartition: tp, Offset: 7}:                 "files of click_events-3",
		&client.PositionError{TopicPartition: tp, Wanted: 7, Err: errBusy}: "deleted before they were counted",
		client.UnknownTopicError{Topic: "click_events"}:                    "deleted under the job",
		engine.ErrProgress: "another number of partitions",
	} {
		got := remedy(fmt.Errorf("start a task: %w", err))
		if !strings.Contains(got, want) || !strings.Contains(got, "millrace jobs reset click-count") {
			t.Errorf("%v: %s", err, got)
		}
	}
	for _, err := range []error{errBusy, client.ErrUnreachable, client.ErrForbidden} {
		if got := remedy(err); got != "" {
			t.Errorf("%v: %s", err, got)
		}
	}
}

var errBusy = errors.New("busy")

// What the brokers hold up passes by itself once they are well, also when the last
// refusal had a cause that would not.
func TestWhatTheBrokersHoldUpSaysWhereToLook(t *testing.T) {
	tp := record.TopicPartition{Topic: "click_events", Partition: 3}
	for _, err := range []error{
		&engine.StalledError{Waited: time.Minute},
		&engine.StalledError{Waited: time.Minute, Err: client.CorruptError{TopicPartition: tp, Offset: 7}},
	} {
		if got := brokersRemedy(fmt.Errorf("job: %w", err)); !strings.Contains(got, "disk") {
			t.Errorf("%v: %q", err, got)
		}
	}
	for _, err := range []error{&client.AwayError{Brokers: []string{"b1:9092"}, Err: errBusy}, client.ErrUnreachable} {
		if got := brokersRemedy(fmt.Errorf("job: %w", err)); !strings.Contains(got, "start the brokers") {
			t.Errorf("%v: %q", err, got)
		}
	}
	for _, err := range []error{nil, errBusy, client.ErrForbidden, client.CorruptError{TopicPartition: tp, Offset: 7}} {
		if got := brokersRemedy(err); got != "" {
			t.Errorf("%v: %q", err, got)
		}
	}
}
