package clicks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/internal/topology"
	"millrace/record"
)

// Every choice of results is a sound job, and writes what it is asked for.
func TestEveryChoiceOfResultsBuilds(t *testing.T) {
	for bits := 1; bits < 1<<len(Results()); bits++ {
		for _, keyed := range []bool{false, true} {
			o := Options{Keyed: keyed}
			for i, r := range Results() {
				if bits&(1<<i) != 0 {
					o.Results = append(o.Results, r)
				}
			}
			j, err := New(o)
			if err != nil {
				t.Fatalf("%v: %v", o, err)
			}
			text := j.Topology().Describe()
			for i, r := range Results() {
				if writes := strings.Contains(text, string(r)+"\n") || strings.Contains(text, string(r)+" "); writes != (bits&(1<<i) != 0) {
					t.Errorf("%v: writes %s: %v\n%s", o, r, writes, text)
				}
			}
			if hops := strings.Contains(text, "-repartition"); hops == keyed && !(keyed && bits&4 != 0) {
				t.Errorf("%v: repartition topics: %v\n%s", o, hops, text)
			}
		}
	}
}

func TestParseResults(t *testing.T) {
	got, err := ParseResults("page_counts, click_counts,page_counts")
	if err != nil || fmt.Sprint(got) != "[page_counts click_counts]" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseResults("click_count"); err == nil {
		t.Error("an unknown result is taken")
	}
}

func TestValuesAreTheirJSON(t *testing.T) {
	start := time.Date(2026, 1, 15, 10, 31, 0, 0, time.UTC)
	windows := WindowClicks{User: "z\"oë", Start: start, End: start.Add(time.Minute), Clicks: 7, Final: true}
	b, err := windowClicksCodec{}.Append(nil, windows)
	want := `{"user_id":"z\"oë","window_start":"2026-01-15T10:31:00Z","window_end":"2026-01-15T10:32:00Z","clicks":7,"final":true}`
	if err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
	if back, err := (windowClicksCodec{}).Decode(b); err != nil || back != windows {
		t.Errorf("%+v, %v", back, err)
	}
	if b, err := (userClicksCodec{}).Append(nil, UserClicks{"ana", 42}); err != nil || string(b) != `{"user_id":"ana","clicks":42}` {
		t.Errorf("%s, %v", b, err)
	}
	if b, err := (pageClicksCodec{}).Append(nil, PageClicks{"/", 42}); err != nil || string(b) != `{"page":"/","clicks":42}` {
		t.Errorf("%s, %v", b, err)
	}
}

func TestDeadLettersAreReadFromTheirHeaders(t *testing.T) {
	r := record.Record{TopicPartition: record.TopicPartition{Topic: DeadLetterTopic}, Offset: 3, Headers: []record.Header{
		{Key: "own", Value: []byte("x")}, {Key: "millrace.reason", Value: []byte("bad_page")},
		{Key: "millrace.error", Value: []byte("page is empty")}, {Key: "millrace.source", Value: []byte("click_events/2/17")}}}
	l := deadLetterOf(&r)
	if l.Topic != Topic || l.Partition != 2 || l.Offset != 17 || l.Reason != "bad_page" || l.Detail != "page is empty" {
		t.Errorf("%+v", l)
	}
	r.Headers = []record.Header{{Key: "millrace.source", Value: []byte("elsewhere")}}
	if l := deadLetterOf(&r); l.Topic != DeadLetterTopic || l.Offset != 3 || l.Reason != "unknown" {
		t.Errorf("%+v", l)
	}
}

func TestDeadLettersKeepTheNewest(t *testing.T) {
	d := newDeadLetters()
	for i := range record.Offset(MaxDeadLetters + 5) {
		d.add(DeadLetter{Offset: i, Reason: []string{"a", "b"}[i%2]})
	}
	newest := d.newest(3)
	if len(newest) != 3 || newest[0].Offset != MaxDeadLetters+4 || newest[2].Offset != MaxDeadLetters+2 {
		t.Errorf("%+v", newest)
	}
	if d.total() != MaxDeadLetters+5 || d.reasons()["a"] != 503 || len(d.newest(5000)) != MaxDeadLetters {
		t.Errorf("%d letters, %v", d.total(), d.reasons())
	}
}

func TestOutputsAreCompacted(t *testing.T) {
	j, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	compacted := make(map[record.Topic]bool)
	for _, sub := range j.Topology().Plan().Subs {
		for _, sink := range sub.Sinks {
			compacted[sink.Topic] = sink.Kind == topology.SinkTable
		}
	}
	for _, r := range Results() {
		if compacted[record.Topic(r)] != (r != Alerts) {
			t.Errorf("%s is compacted: %v", r, compacted[record.Topic(r)])
		}
	}
}
