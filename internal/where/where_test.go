package where_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"millrace/internal/where"
	"millrace/record"
)

var click = &record.Record{
	TopicPartition: record.TopicPartition{Topic: "click_events", Partition: 2},
	Offset:         17,
	Timestamp:      record.TimestampOf(time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)),
	Key:            []byte("user_1"),
	Value:          []byte(`{"user_id":"ana","n":9007199254740993,"half":0.5,"tags":["a",{"b c":true}],"type":null}`),
	Headers:        []record.Header{{Key: "reason", Value: []byte("decode")}, {Key: "empty"}},
}

func TestMatch(t *testing.T) {
	for text, want := range map[string]bool{
		`value.user_id == "ana"`:                              true,
		`value.user_id != "ana"`:                              false,
		`value.nobody == "ana"`:                               false,
		`value.nobody != "ana"`:                               true,
		`has(value.user_id) && !has(value.type)`:              true,
		`value.type == null`:                                  true,
		`partition == 2 && offset >= 17 && offset < 18`:       true,
		`partition == 2.0`:                                    true,
		`offset > "1"`:                                        false,
		`value.n == 9007199254740993`:                         true,
		`value.n == 9007199254740992`:                         false, // as float64 they are one
		`value.n > 1.5 && value.half < 1`:                     true,
		`value.half == -0.5`:                                  false,
		`value.tags[0] == "a" && value.tags[1]["b c"]`:        true,
		`value.tags[2] == null`:                               true,
		`value.tags.a == null`:                                true,
		`headers.reason == "decode"`:                          true,
		`headers["empty"] == null`:                            true,
		`contains(key, "_1") && prefix(key, "user")`:          true,
		`suffix(value.user_id, "x") || suffix(key, "1")`:      true,
		`contains(offset, "1")`:                               false,
		`ts >= "2026-11-23T10:00" && ts < "2026-11-23T10:01"`: true,
		`topic == "click_events"`:                             true,
		`(false || true) && !(true && false)`:                 true,
		`true || false && false`:                              true,
		`value.tags == value.tags`:                            true,
	} {
		e, err := where.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := e.Match(click); got != want {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

// What is no JSON is text, and a tombstone has no value.
func TestValuesThatAreNoJSON(t *testing.T) {
	for value, text := range map[string]string{"hello": `value == "hello"`, "1 2": `value == "1 2"`, "\xff": `value == "\xff"`, "7": `value == 7`} {
		e, err := where.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if !e.Match(&record.Record{Value: []byte(value)}) {
			t.Errorf("%q: %s does not match", value, text)
		}
		if e.Match(&record.Record{}) {
			t.Errorf("%s matches a tombstone", text)
		}
	}
}

func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		``:                                    "character 1: a value is missing",
		`value.user_id = "ana"`:               "character 15: to compare, use ==",
		`user_id == "ana"`:                    `character 1: "user_id" is not known: a path begins with topic`,
		`value.user_id`:                       "", // may be true
		`key`:                                 "character 1: it is a value and no condition",
		`"ana"`:                               "character 1: it is a value and no condition",
		`key == "a" key`:                      `character 12: "key" is not expected here`,
		`key == 'a'`:                          "character 8: a value is missing",
		`key == "a`:                           "literal not terminated",
		`(key == "a"`:                         `character 12: ")" is missing, not the end`,
		`key.a == 1`:                          "key has nothing inside",
		`value.[0] == 1`:                      "a name is missing",
		`value[-1] == 1`:                      "a name in quotes or a number is missing",
		`contains(key) `:                      "contains takes 2 values, not 1",
		`has key`:                             `"(" is missing`,
		`offset == 0x10`:                      `"0x10" is no number in JSON`,
		`offset == - key`:                     "is no number",
		strings.Repeat("!", 101) + "has(key)": "nested more than 100 deep",
		`key == "a" &`:                        `"&" is not expected here`,
	} {
		_, err := where.Parse(text)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if fault, ok := errors.AsType[*where.Error](err); !ok || !strings.Contains(fault.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`value.a["b"][0] == "c" && !has(key) || contains(headers.h, "x")`)
	f.Add(`((-1.5e3 <= value.n))`)
	f.Fuzz(func(t *testing.T, text string) {
		if e, err := where.Parse(text); err == nil {
			e.Match(click)
			e.Match(&record.Record{})
		}
	})
}
