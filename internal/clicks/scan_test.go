package clicks

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// The usual forms must not fall back to the full decoder: that would only show
// as a job that is ten times slower.
func TestScanTakesTheUsualEvents(t *testing.T) {
	for _, event := range []string{
		`{"user_id":"u123456","timestamp":1700000000000,"page":"/home"}`,
		`{"user_id": "user_123", "timestamp": 1700000000, "page": "home"}`,
		`{"page":"/a/b?c=d","timestamp":1700000000123456,"user_id":77}`,
		`{"user_id":"zoë","timestamp":0,"page":"/ä/日本"}`,
		`{"user_id":"ana","timestamp":1700000000,"page":"/","demo":true}` + "\n",
	} {
		if _, ok := scan([]byte(event)); !ok {
			t.Errorf("falls back: %s", event)
		}
	}
}

// agree fails when scan takes an event that the full decoder refuses or reads
// otherwise.
func agree(t *testing.T, event []byte) {
	t.Helper()
	got, ok := scan(event)
	if !ok {
		return
	}
	var d Decoder
	want, err := d.decode(event)
	if err != nil || got.User != want.User || got.Page != want.Page || got.At != want.At || got.Demo != want.Demo {
		t.Errorf("%q\nscan   %s %s %d %v\ndecode %s %s %d %v, %v", event,
			got.User, got.Page, got.At, got.Demo, want.User, want.Page, want.At, want.Demo, err)
	}
}

// Pieces of events in any combination, those that are not JSON included.
func TestScanAgreesWithTheDecoder(t *testing.T) {
	pieces := strings.Split(`{ } , : "user_id" "timestamp" "page" "demo" "x" true false null 0 7 -1 007 1.5 1e3 99999999999 100000000000
		99999999999999 100000000000000 3999999999999999 4000000000000001 9007199254740993 99999999999999999 123456789012345678901 "" "a" "\n" "\u00e4" "ä" "`+
		"\xff\" \"\x01\" \"\x7f\"", " ")
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func() string { return pieces[rng.IntN(len(pieces))] }
	taken := 0
	for range 200_000 {
		members := []string{`"user_id":` + pick(), `"timestamp":` + pick(), `"page":` + pick()}
		if rng.IntN(4) == 0 {
			members = append(members, pick()+":"+pick())
		}
		rng.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		event := []byte("{" + strings.Join(members, ",") + "}")
		if rng.IntN(4) == 0 {
			event[rng.IntN(len(event))] = byte(rng.IntN(256))
		}
		if _, ok := scan(event); ok {
			taken++
		}
		agree(t, event)
	}
	if taken < 1000 {
		t.Errorf("scan took %d events only: nothing was compared", taken)
	}
}

func TestScanKeepsTheBoundsOfLength(t *testing.T) {
	for _, n := range []int{MaxUserBytes - 1, MaxUserBytes, MaxUserBytes + 1, MaxPageBytes, MaxPageBytes + 1} {
		agree(t, []byte(`{"user_id":"`+strings.Repeat("u", n)+`","timestamp":1,"page":"/"}`))
		agree(t, []byte(`{"user_id":`+strings.Repeat("1", n)+`,"timestamp":1,"page":"/"}`))
		agree(t, []byte(`{"user_id":"u","timestamp":1,"page":"`+strings.Repeat("p", n)+`"}`))
	}
}

func TestPlainASCII(t *testing.T) {
	for stop := range 256 {
		plain := stop >= ' ' && stop < 0x80 && stop != '"' && stop != '\\'
		for at := range 20 {
			text := bytes.Repeat([]byte("a"), 20)
			text[at] = byte(stop)
			want := at
			if plain {
				want = len(text)
			}
			if got := plainASCII(text); got != want {
				t.Fatalf("byte %#x at %d: %d", stop, at, got)
			}
		}
	}
}

// A string that is refused at its end must not be taken for the number behind it.
func TestScanRefusesANumberBehindAString(t *testing.T) {
	agree(t, []byte("{\"user_id\":\"\xff\"12,\"timestamp\":1,\"page\":\"/\"}"))
}

func FuzzScan(f *testing.F) {
	f.Add([]byte(`{"user_id":"ana","timestamp":1700000000000,"page":"/home","demo":true}`))
	f.Add([]byte(`{ "page" : "ä" , "user_id" : 0, "timestamp":4000000000000001 }`))
	f.Fuzz(agree)
}

func BenchmarkScan(b *testing.B) {
	event := []byte(`{"user_id":"u123456","timestamp":1700000000000,"page":"/home"}`)
	b.SetBytes(int64(len(event)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := scan(event); !ok {
			b.Fatal("falls back")
		}
	}
}
