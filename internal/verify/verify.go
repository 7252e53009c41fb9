package verify

import (
	"cmp"
	"context"
	"encoding/json/v2"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"millrace/internal/client"
	"millrace/record"
)

// The click job's names.
const (
	input       record.Topic = "click_events"
	userCounts  record.Topic = "click_counts"
	pageCounts  record.Topic = "page_counts"
	deadLetters record.Topic = "click_events-dlq"
	group                    = "click-count"

	sourceHeader = "millrace.source"
)

// Options say what is compared and how.
type Options struct {
	Client client.Config
	// Pages compares page counts as well; a job that computes click_counts alone
	// has none.
	Pages bool
	// Show bounds the differences that are listed. All are counted. Default 20.
	Show int
	// Patience is how long the job may take to come to the input's end. Default 60s.
	Patience time.Duration
	// Progress is told how far the recount is, in records; may be nil.
	Progress func(done, of int64)
}

// TrimmedError says that the input no longer has all that was counted.
type TrimmedError struct {
	record.TopicPartition
	Start record.Offset
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("%s starts at offset %d: what retention or DeleteRecords removed cannot be recounted", e.TopicPartition, e.Start)
}

// BehindError says that the job has not committed what it should have in time.
type BehindError struct {
	record.TopicPartition
	Committed, Want record.Offset
	Waited          time.Duration
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("job %s has committed %s only up to offset %d after %v, and the input asks for %d: is it running? See millrace groups describe %s",
		group, e.TopicPartition, max(0, e.Committed), e.Waited, e.Want, group)
}

// ClickCount compares the click job's results with a recount of click_events.
//
// Errors: *TrimmedError, *BehindError, and those of the client.
func ClickCount(ctx context.Context, o Options) (Report, error) {
	o.Show, o.Patience = cmp.Or(o.Show, 20), cmp.Or(o.Patience, time.Minute)
	admin, err := client.NewAdmin(o.Client)
	if err != nil {
		return Report{}, err
	}
	defer admin.Close()
	v := &verification{Options: o, admin: admin}
	return v.run(ctx)
}

type verification struct {
	Options
	admin *client.Admin
}

func (v *verification) run(ctx context.Context) (Report, error) {
	clicks, err := newReader(v.Client, v.admin, input)
	if err != nil {
		return Report{}, err
	}
	defer clicks.close()
	first, err := clicks.spans(ctx)
	if err != nil {
		return Report{}, err
	}
	for p, s := range first {
		if s.Start > 0 {
			return Report{}, &TrimmedError{record.TopicPartition{Topic: input, Partition: p}, s.Start}
		}
	}
	counted := newRecount(first)
	if err := clicks.readTo(ctx, first, counted.add, v.Progress); err != nil {
		return Report{}, err
	}
	if err := v.await(ctx, clicks); err != nil {
		return Report{}, err
	}
	stored, err := v.readStored(ctx)
	if err != nil {
		return Report{}, err
	}
	end, err := clicks.spans(ctx)
	if err != nil {
		return Report{}, err
	}
	if err := clicks.readTo(ctx, end, counted.add, v.Progress); err != nil {
		return Report{}, err
	}
	return v.compare(counted, stored), nil
}

// await waits until the job has committed what was read of the input, and then
// what that has become in the topics between its parts.
func (v *verification) await(ctx context.Context, clicks *reader) error {
	want := make(map[record.TopicPartition]record.Offset)
	for p, last := range clicks.last {
		want[record.TopicPartition{Topic: input, Partition: p}] = last + 1
	}
	if err := v.awaitOffsets(ctx, want); err != nil {
		return err
	}
	between, err := v.between(ctx)
	if err != nil {
		return err
	}
	return v.awaitOffsets(ctx, between)
}

// between is where the job must come to in its repartition topics.
func (v *verification) between(ctx context.Context) (map[record.TopicPartition]record.Offset, error) {
	g, err := v.admin.Group(ctx, group)
	if err != nil {
		return nil, err
	}
	want := make(map[record.TopicPartition]record.Offset)
	for _, o := range g.Offsets {
		if o.Topic != input {
			want[o.TopicPartition] = 0
		}
	}
	for _, topic := range topicsOf(want) {
		last, err := v.lastOffsets(ctx, topic)
		if err != nil {
			return nil, err
		}
		for p, o := range last {
			want[record.TopicPartition{Topic: topic, Partition: p}] = o + 1
		}
	}
	return want, nil
}

// lastOffsets are those of the newest records of a repartition topic. The job
// deletes what it has read there, also under this reader.
func (v *verification) lastOffsets(ctx context.Context, topic record.Topic) (map[record.Partition]record.Offset, error) {
	r, err := newReader(v.Client, v.admin, topic)
	if err != nil {
		return nil, err
	}
	defer r.close()
	for {
		spans, err := v.decided(ctx, r)
		if err != nil {
			return nil, err
		}
		err = r.readTo(ctx, spans, func(*record.Record) {}, nil)
		if _, deleted := errors.AsType[*client.PositionError](err); !deleted {
			return r.last, err
		}
	}
}

func topicsOf(offsets map[record.TopicPartition]record.Offset) []record.Topic {
	topics := make(map[record.Topic]bool)
	for tp := range offsets {
		topics[tp.Topic] = true
	}
	return slices.Sorted(maps.Keys(topics))
}

// awaitOffsets waits until the group has committed up to the given offsets.
func (v *verification) awaitOffsets(ctx context.Context, want map[record.TopicPartition]record.Offset) error {
	enough := time.After(v.Patience)
	for {
		behind, err := v.behind(ctx, want)
		if err != nil || behind == nil {
			return err
		}
		select {
		case <-enough:
			behind.Waited = v.Patience
			return behind
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// behind is a partition in which the group is not where it should be.
func (v *verification) behind(ctx context.Context, want map[record.TopicPartition]record.Offset) (*BehindError, error) {
	if len(want) == 0 {
		return nil, nil
	}
	g, err := v.admin.Group(ctx, group)
	if unknown := (client.UnknownGroupError{}); err != nil && !errors.As(err, &unknown) {
		return nil, err
	}
	committed := make(map[record.TopicPartition]record.Offset)
	for _, o := range g.Offsets {
		committed[o.TopicPartition] = o.Committed
	}
	for tp, offset := range want {
		if committed[tp] < offset {
			return &BehindError{TopicPartition: tp, Committed: committed[tp], Want: offset}, nil
		}
	}
	return nil, nil
}

// stored is what the job has written.
type stored struct {
	users, pages map[string]int64 // newest count
	dead         map[string]int64 // dead letters by source
}

func (v *verification) readStored(ctx context.Context) (stored, error) {
	s := stored{dead: make(map[string]int64)}
	var err error
	if s.users, err = v.readCounts(ctx, userCounts); err != nil {
		return s, err
	}
	if v.Pages {
		if s.pages, err = v.readCounts(ctx, pageCounts); err != nil {
			return s, err
		}
	}
	err = v.readAll(ctx, deadLetters, func(r *record.Record) {
		source := "(no " + sourceHeader + ")"
		for _, h := range r.Headers {
			if h.Key == sourceHeader {
				source = string(h.Value)
			}
		}
		s.dead[source]++
	})
	return s, err
}

// readCounts is the newest count of each key. What is no count is taken as -1,
// which no recount allows.
func (v *verification) readCounts(ctx context.Context, topic record.Topic) (map[string]int64, error) {
	counts := make(map[string]int64)
	err := v.readAll(ctx, topic, func(r *record.Record) {
		if r.Value == nil {
			delete(counts, string(r.Key))
			return
		}
		var value struct {
			Clicks int64 `json:"clicks"`
		}
		if err := json.Unmarshal(r.Value, &value); err != nil {
			value.Clicks = -1
		}
		counts[string(r.Key)] = value.Clicks
	})
	return counts, err
}

// readAll reads a topic up to its end. One that does not exist is empty.
func (v *verification) readAll(ctx context.Context, topic record.Topic, each func(*record.Record)) error {
	facts, err := v.admin.Facts(ctx, topic)
	if _, exists := facts[topic]; err != nil || !exists {
		return err
	}
	r, err := newReader(v.Client, v.admin, topic)
	if err != nil {
		return err
	}
	defer r.close()
	spans, err := v.decided(ctx, r)
	if err != nil {
		return err
	}
	return r.readTo(ctx, spans, each, nil)
}

// decided are the spans of a topic that the job writes, with everything that it
// has committed so far: the group's offsets of a commit can be seen before its
// records.
func (v *verification) decided(ctx context.Context, r *reader) (map[record.Partition]client.Span, error) {
	ctx, cancel := context.WithTimeout(ctx, v.Patience)
	defer cancel()
	spans, err := r.spans(ctx)
	if err != nil {
		return nil, err
	}
	var partitions []record.TopicPartition
	for p := range spans {
		partitions = append(partitions, record.TopicPartition{Topic: r.topic, Partition: p})
	}
	all, err := v.admin.Decided(ctx, partitions)
	for tp, s := range all {
		spans[tp.Partition] = s
	}
	return spans, err
}

func (v *verification) compare(counted *recount, s stored) Report {
	report := Report{Clicks: counted.total.first, Moving: counted.total.all - counted.total.first,
		Users: len(counted.users), Pages: len(counted.pages), DeadLetters: len(counted.bad)}
	v.compareEach(&report, "user", counted.users, s.users)
	if v.Pages {
		v.compareEach(&report, "page", counted.pages, s.pages)
	}
	v.compareEach(&report, "dead letter", counted.bad, s.dead)
	return report
}

// compareEach goes through both sides in the order of names.
func (v *verification) compareEach(report *Report, what string, counted map[string]*tally, stored map[string]int64) {
	names := slices.Collect(maps.Keys(counted))
	for name := range stored {
		if counted[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		want := tally{}
		if t := counted[name]; t != nil {
			want = *t
		}
		if want.fits(stored[name]) {
			continue
		}
		report.Differences++
		if len(report.Shown) < v.Show {
			report.Shown = append(report.Shown, Difference{What: what, Name: name, Stored: stored[name], AtLeast: want.first, AtMost: want.all})
		}
	}
}
