package clicks

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestParseAccessLine(t *testing.T) {
	const stamp = `[17/May/2015:10:05:03 +0000]`
	at := time.Date(2015, 5, 17, 10, 5, 3, 0, time.UTC)
	for line, want := range map[string]AccessLine{
		`83.149.9.216 - - ` + stamp + ` "GET /a.png HTTP/1.1" 200 203023 "http://x/" "Mozilla/5.0"`: {"83.149.9.216", at, "/a.png"},
		`::1 - frank ` + stamp + ` "GET /a?b=c HTTP/1.0" 200 2326`:                                  {"::1", at, "/a"},
		`host.example - frank o'neil ` + stamp + ` "HEAD /a#b HTTP/2.0" 304 -`:                      {"host.example", at, "/a"},
		`1.2.3.4 - - [17/May/2015:12:05:03 +0200] "POST / HTTP/1.1" 200 1`:                          {"1.2.3.4", at, "/"},
		`1.2.3.4 - - ` + stamp + ` "OPTIONS * HTTP/1.0" 200 -`:                                      {"1.2.3.4", at, "*"},
		`1.2.3.4 - - ` + stamp + ` "GET http://a.example/b?c HTTP/1.1" 200 1`:                       {"1.2.3.4", at, "/b"},
		`1.2.3.4 - - ` + stamp + ` "GET http://a.example HTTP/1.1" 200 1`:                           {"1.2.3.4", at, "/"},
		`1.2.3.4 - - ` + stamp + ` "GET /go?to=http://a.example/b HTTP/1.1" 302 1`:                  {"1.2.3.4", at, "/go"},
		`1.2.3.4 - - ` + stamp + ` "GET /http://odd HTTP/1.1" 302 1`:                                {"1.2.3.4", at, "/http://odd"},
		`1.2.3.4 - - ` + stamp + ` "GET /a\"b HTTP/1.1" 200 1`:                                      {"1.2.3.4", at, `/a\"b`},
		`1.2.3.4 - - ` + stamp + ` "GET /a HTTP/1.1" 200 1 "-" "cut off`:                            {"1.2.3.4", at, "/a"},
		`1.2.3.4 - - ` + stamp + ` "GET /\xe4 HTTP/1.1" 200 1`:                                      {"1.2.3.4", at, `/\xe4`},
	} {
		got, err := ParseAccessLine([]byte(line))
		if err != nil || got.Address != want.Address || got.Page != want.Page || !got.At.Equal(want.At) {
			t.Errorf("%s\n got %+v (%v)\nwant %+v", line, got, err, want)
		}
	}
}

func TestBadAccessLines(t *testing.T) {
	const begin = `1.2.3.4 - - [17/May/2015:10:05:03 +0000] `
	for line, want := range map[string]error{
		"":                               errNoAddress,
		" x":                             errNoAddress,
		"word":                           errNoAddress,
		`{"json": "is no access log"}`:   errNoTime,
		"1.2.3.4 - - GET /":              errNoTime,
		"1.2.3.4 - - [17/May/2015:10:05": errNoTime,
		"1.2.3.4 - - [yesterday] \"GET / HTTP/1.1\"":                  errBadTime,
		"1.2.3.4 - - [32/May/2015:10:05:03 +0000] \"GET / HTTP/1.1\"": errBadTime,
		begin + `200 5`:                        errNoRequest,
		begin + `"GET / HTTP/1.1`:              errOpenRequest,
		begin + `"GET / HTTP/1.1\"`:            errOpenRequest,
		begin + `"-" 408 -`:                    errBadRequest,
		begin + `"" 400 -`:                     errBadRequest,
		begin + `"GET /" 400 -`:                errBadRequest,
		begin + `"GET  HTTP/1.1" 400 -`:        errBadRequest,
		begin + `"GET ?q HTTP/1.1" 400 -`:      errBadRequest,
		begin + `"GET /a b HTTP/1.1" 400 -`:    errBadRequest,
		begin + `"\x16\x03\x01" 400 -`:         errBadRequest,
		begin + "\"GET /\xff HTTP/1.1\" 200 -": errLineText,
		begin + `"GET /` + strings.Repeat("x", MaxPageBytes) + ` HTTP/1.1"`: errLongPage,
		strings.Repeat("x", MaxUserBytes+1) + " - -":                        errLongAddress,
	} {
		if _, err := ParseAccessLine([]byte(line)); !errors.Is(err, want) {
			t.Errorf("%.90q: got %v, want %v", line, err, want)
		}
	}
}

// FuzzParseAccessLine: whatever a line holds, a click made of it decodes as the
// same click.
func FuzzParseAccessLine(f *testing.F) {
	f.Add([]byte(`83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a?b HTTP/1.1" 200 203023 "http://x/" "Mozilla/5.0"`))
	f.Add([]byte(`1.2.3.4 - - [17/May/2015:10:05:03 +0000] "GET http://a.example/\"b HTTP/1.1" 200 1`))
	f.Add([]byte("\xff [] \"\""))
	f.Fuzz(func(t *testing.T, line []byte) {
		parsed, err := ParseAccessLine(line)
		if err != nil {
			return
		}
		var d Decoder
		click, err := d.Decode(Event(parsed.Address, parsed.Page, parsed.At, false))
		if err != nil || string(click.User) != parsed.Address || string(click.Page) != parsed.Page || !click.At.Time().Equal(parsed.At) {
			t.Fatalf("%q became %+v, then %+v (%v)", line, parsed, click, err)
		}
	})
}

func TestDemoIsMarkedSkewedAndRepeatable(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	one, two := NewDemo(DemoOptions{Seed: 5}), NewDemo(DemoOptions{Seed: 5})
	var d Decoder
	counts := make(map[string]int)
	for range 20_000 {
		user, event := one.Next(at)
		if _, again := two.Next(at); string(again) != string(event) {
			t.Fatalf("the same seed gave %s and %s", event, again)
		}
		click, err := d.Decode(event)
		if err != nil || !click.Demo || string(click.User) != user || !click.At.Time().Equal(at) {
			t.Fatalf("%s decodes as %+v (%v)", event, click, err)
		}
		counts[user]++
	}
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	if len(counts) < 500 || len(counts) > 1000 || most < 400 {
		t.Errorf("%d users, the busiest with %d of 20000 clicks", len(counts), most)
	}
}
