package clicks

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"millrace/record"
)

func decode(value string) (Click, error) {
	var d Decoder
	return d.Decode([]byte(value))
}

func TestDecodeGoodEvents(t *testing.T) {
	for event, want := range map[string]string{
		`{"user_id":"ana","timestamp":1700000000,"page":"/"}`:                                    "ana / 1700000000000",
		`{"user_id":42,"timestamp":1700000000,"page":"/"}`:                                       "42 / 1700000000000",
		`{"user_id":"42","timestamp":1700000000,"page":"/"}`:                                     "42 / 1700000000000",
		`{"user_id":-7,"timestamp":1700000000,"page":"/"}`:                                       "-7 / 1700000000000",
		`{"user_id":123456789012345678901234567890,"timestamp":1700000000123,"page":"/"}`:        "123456789012345678901234567890 / 1700000000123",
		`{"user_id":"ana","timestamp":1700000000123456,"page":"/"}`:                              "ana / 1700000000123",
		`{"user_id":"ana","timestamp":1700000000.75,"page":"/"}`:                                 "ana / 1700000000750",
		`{"user_id":"ana","timestamp":1.7e9,"page":"/"}`:                                         "ana / 1700000000000",
		`{"user_id":"ana","timestamp":"2023-11-14T22:13:20.5Z","page":"/"}`:                      "ana / 1700000000500",
		`{"user_id":"ana","timestamp":"2023-11-15T00:13:20+02:00","page":"/"}`:                   "ana / 1700000000000",
		`{"user_id":"ana","timestamp":0,"page":"/"}`:                                             "ana / 0",
		`{"user_id":"ana","timestamp":-1,"page":"/"}`:                                            "ana / -1000",
		"\n {\t\"page\" : \"/\\u00e4\" , \"user_id\":\"a\\nb\", \"timestamp\":1700000000 } \r\n": "a\nb /ä 1700000000000",
		`{"user_\u0069d":"ana","timestamp":1700000000,"page":"/"}`:                               "ana / 1700000000000",
		`{"user_id":"ana","timestamp":1700000000,"page":"/","x":{"user_id":[null,1e999]}}`:       "ana / 1700000000000",
		`{"user_id":"ana","timestamp":1700000000,"page":"/","demo":true}`:                        "ana / 1700000000000 demo",
		`{"user_id":"ana","timestamp":1700000000,"page":"/","demo":"true"}`:                      "ana / 1700000000000",
	} {
		click, err := decode(event)
		got := fmt.Sprintf("%s %s %d", click.User, click.Page, click.At)
		if click.Demo {
			got += " demo"
		}
		if err != nil || got != want {
			t.Errorf("%s\n got %s (%v)\nwant %s", event, got, err, want)
		}
	}
}

func TestDecodeKeepsAChunk(t *testing.T) {
	var d Decoder
	var kept []Click
	for i := range 1000 {
		click, err := d.Decode(fmt.Appendf(nil, `{"user_id":"user_%d","timestamp":1,"page":"/%d"}`, i, i))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, click)
	}
	for i, click := range kept {
		if string(click.User) != fmt.Sprint("user_", i) || string(click.Page) != fmt.Sprint("/", i) {
			t.Fatalf("click %d became %s %s", i, click.User, click.Page)
		}
	}
}

// poison is one malformed event per line of thought, with its reason.
func poison() map[string]Reason {
	deep := func(open, end string, n int) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	event := func(user, timestamp, page string) string {
		return fmt.Sprintf(`{"user_id":%s,"timestamp":%s,"page":%s}`, user, timestamp, page)
	}
	return map[string]Reason{
		"":                               NoValue,
		"\xff\xfe":                       InvalidUTF8,
		"{\"user_id\":\"\xc3\x28\"}":     InvalidUTF8,
		"\x00\x00\x00\x00":               InvalidJSON,
		" ":                              InvalidJSON,
		"{":                              InvalidJSON,
		"}":                              InvalidJSON,
		"{]":                             InvalidJSON,
		`{"user_id"}`:                    InvalidJSON,
		`{"user_id":}`:                   InvalidJSON,
		`{user_id:"ana"}`:                InvalidJSON,
		`{'user_id':'ana'}`:              InvalidJSON,
		`{"user_id":"ana",}`:             InvalidJSON,
		`{"user_id":NaN}`:                InvalidJSON,
		`{"user_id":01}`:                 InvalidJSON,
		`{"user_id":"\ud800"}`:           InvalidJSON,
		`{"user_id":"a` + "\n" + `b"}`:   InvalidJSON,
		event(`"ana"`, `1`, `"/"`) + `x`: InvalidJSON,
		event(`"ana"`, `1`, `"/"`) + event(`"ana"`, `1`, `"/"`):           InvalidJSON,
		event(`"ana"`, `1`, `"/"`)[:20]:                                   InvalidJSON,
		deep(`[`, `]`, 100_000):                                           InvalidJSON,
		deep(`{"a":`, `}`, 20_000):                                        InvalidJSON,
		`{"x":` + deep(`[`, `]`, 10_000) + `}`:                            InvalidJSON,
		deep(`[`, `]`, 9_000):                                             NotAnObject,
		`{"user_id":"ana","user_id":"bob","timestamp":1,"page":"/"}`:      DuplicateName,
		`{"user_id":"ana","user\u005fid":"bob","timestamp":1,"page":"/"}`: DuplicateName,
		`{"user_id":"ana","timestamp":1,"page":"/","x":{"y":1,"y":2}}`:    DuplicateName,
		`null`: NotAnObject, `true`: NotAnObject, `7`: NotAnObject, `"ana"`: NotAnObject, `[]`: NotAnObject, `1e999`: NotAnObject,
		`[{"user_id":"ana","timestamp":1,"page":"/"}]`: NotAnObject,
		`{}`: BadUserID,
		`{"USER_ID":"ana","timestamp":1,"page":"/"}`:            BadUserID,
		event(`null`, `1`, `"/"`):                               BadUserID,
		event(`true`, `1`, `"/"`):                               BadUserID,
		event(`""`, `1`, `"/"`):                                 BadUserID,
		event(`1.5`, `1`, `"/"`):                                BadUserID,
		event(`1e999`, `1`, `"/"`):                              BadUserID,
		event(`["ana"]`, `1`, `"/"`):                            BadUserID,
		event(`{"id":"ana"}`, `1`, `"/"`):                       BadUserID,
		event(`"`+strings.Repeat("x", 1<<20)+`"`, `1`, `"/"`):   BadUserID,
		event(strings.Repeat("9", 1<<20), `1`, `"/"`):           BadUserID,
		`{"user_id":"ana","page":"/"}`:                          BadTimestamp,
		event(`"ana"`, `null`, `"/"`):                           BadTimestamp,
		event(`"ana"`, `1e999`, `"/"`):                          BadTimestamp,
		event(`"ana"`, `-1e999`, `"/"`):                         BadTimestamp,
		event(`"ana"`, `9223372036854775807`, `"/"`):            BadTimestamp,
		event(`"ana"`, `-9223372036854775808`, `"/"`):           BadTimestamp,
		event(`"ana"`, `-99999999999`, `"/"`):                   BadTimestamp,
		event(`"ana"`, `100000000000000000`, `"/"`):             BadTimestamp,
		event(`"ana"`, `1700000000000000000`, `"/"`):            BadTimestamp,
		event(`"ana"`, strings.Repeat("9", 1<<20), `"/"`):       BadTimestamp,
		event(`"ana"`, `"yesterday"`, `"/"`):                    BadTimestamp,
		event(`"ana"`, `"2026-01-15 10:31:09"`, `"/"`):          BadTimestamp,
		event(`"ana"`, `"2026-01-15T10:31:09"`, `"/"`):          BadTimestamp,
		event(`"ana"`, `"1700000000"`, `"/"`):                   BadTimestamp,
		event(`"ana"`, `{}`, `"/"`):                             BadTimestamp,
		event(`"ana"`, `"`+strings.Repeat("2", 1<<20)+`"`, `1`): BadTimestamp,
		`{"user_id":"ana","timestamp":1}`:                       BadPage,
		event(`"ana"`, `1`, `null`):                             BadPage,
		event(`"ana"`, `1`, `7`):                                BadPage,
		event(`"ana"`, `1`, `""`):                               BadPage,
		event(`"ana"`, `1`, `["/"]`):                            BadPage,
		event(`"ana"`, `1`, `"`+strings.Repeat("/", 1<<20)+`"`): BadPage,
	}
}

func TestPoisonIsNamed(t *testing.T) {
	var d Decoder
	for event, want := range poison() {
		_, err := d.Decode([]byte(event))
		fault, ok := errors.AsType[*MalformedError](err)
		if !ok || fault.Reason != want {
			t.Errorf("%.80q: got %v, want reason %s", event, err, want)
			continue
		}
		if len(fault.Detail) == 0 || len(fault.Detail) > 200 {
			t.Errorf("%.80q: the detail has %d bytes: %.300s", event, len(fault.Detail), fault.Detail)
		}
	}
}

// FuzzDecode looks for panics, for clicks that break their own rules, and for
// events that decode differently behind another event.
func FuzzDecode(f *testing.F) {
	for event := range poison() {
		if len(event) < 1000 {
			f.Add([]byte(event))
		}
	}
	f.Add([]byte(`{"user_id":"ana","timestamp":1700000000,"page":"/"}`))
	f.Add([]byte(`{"user_id":7,"timestamp":"2026-01-15T10:31:09Z","page":"/","demo":true,"x":[1,{}]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		var fresh, used Decoder
		if _, err := used.Decode([]byte(`{"user_id":"other","timestamp":1,"page":"/x"`)); err == nil {
			t.Fatal("half an object was accepted")
		}
		click, err := fresh.Decode(value)
		again, againErr := used.Decode(value)
		if (err == nil) != (againErr == nil) || click.User != again.User || click.Page != again.Page || click.At != again.At {
			t.Fatalf("decoded as %v %v, then as %v %v", click, err, again, againErr)
		}
		if err != nil {
			if _, ok := errors.AsType[*MalformedError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if len(click.User) == 0 || len(click.User) > MaxUserBytes || len(click.Page) == 0 || len(click.Page) > MaxPageBytes || click.At < yearOne {
			t.Fatalf("accepted %q as %+v", value, click)
		}
	})
}

func TestEpochUnitsMeetWithoutAGap(t *testing.T) {
	for number, want := range map[string]time.Time{
		"99999999999":     time.Unix(99_999_999_999, 0),
		"100000000000":    time.UnixMilli(100_000_000_000),
		"99999999999999":  time.UnixMilli(99_999_999_999_999),
		"100000000000000": time.UnixMicro(100_000_000_000_000),
		"-62135596800":    time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		got, err := epoch([]byte(number))
		if err != nil || got != record.TimestampOf(want) {
			t.Errorf("%s: got %v (%v), want %v", number, got.Time(), err, want.UTC())
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	value := []byte(`{"user_id":"user_4711","timestamp":1700000000,"page":"home"}`)
	var d Decoder
	b.ReportAllocs()
	b.SetBytes(int64(len(value)))
	for b.Loop() {
		if _, err := d.Decode(value); err != nil {
			b.Fatal(err)
		}
	}
}
