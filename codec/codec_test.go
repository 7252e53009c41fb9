package codec_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"millrace/codec"
)

type userID string
type level int8
type click struct {
	User string         `json:"user_id"`
	Tags map[string]int `json:"tags,omitempty"`
}

func roundTrip[T any](t *testing.T, c codec.Codec[T], v T, want string) {
	t.Helper()
	b, err := c.Append([]byte("> "), v)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != "> "+want {
		t.Errorf("%s: %v is %q, want %q", c.Name(), v, b[2:], want)
	}
	back, err := c.Decode(b[2:])
	if err != nil || fmt.Sprint(back) != fmt.Sprint(v) {
		t.Errorf("%s: %v came back as %v, %v", c.Name(), v, back, err)
	}
	column := make([]T, 2)
	if n, err := codec.DecodeAll(c, [][]byte{b[2:], b[2:]}, column); n != 2 || err != nil || fmt.Sprint(column[1]) != fmt.Sprint(v) {
		t.Errorf("%s: the batch form gave %d, %v, %v", c.Name(), n, err, column)
	}
}

func TestRoundTrips(t *testing.T) {
	roundTrip(t, codec.String, "ana", "ana")
	roundTrip(t, codec.String, "", "")
	roundTrip(t, codec.Bytes, []byte("ana"), "ana")
	roundTrip(t, codec.Int64, 258, "\x00\x00\x00\x00\x00\x00\x01\x02")
	roundTrip(t, codec.Int64, -1, "\xff\xff\xff\xff\xff\xff\xff\xff")
	roundTrip(t, codec.Float64, 1, "\x3f\xf0\x00\x00\x00\x00\x00\x00")
	roundTrip(t, codec.Float64, math.Inf(-1), "\xff\xf0\x00\x00\x00\x00\x00\x00")
	roundTrip(t, codec.JSON[click](), click{User: "ana", Tags: map[string]int{"b": 1, "a": 2}}, `{"user_id":"ana","tags":{"a":2,"b":1}}`)

	roundTrip(t, codec.For[userID](), "ana", "ana")
	roundTrip(t, codec.For[string](), "ana", "ana")
	roundTrip(t, codec.For[level](), -3, "\x00\x00\x00\x00\x00\x00\x00\xfd")
	roundTrip(t, codec.For[int](), 7, "\x00\x00\x00\x00\x00\x00\x00\x07")
	roundTrip(t, codec.For[uint16](), 515, "\x00\x00\x00\x00\x00\x00\x02\x03")
	roundTrip(t, codec.For[uint32](), 7, "\x00\x00\x00\x00\x00\x00\x00\x07")
	roundTrip(t, codec.For[float32](), 1, "\x3f\x80\x00\x00")
	roundTrip(t, codec.For[float64](), 1, "\x3f\xf0\x00\x00\x00\x00\x00\x00")
	roundTrip(t, codec.For[bool](), true, "true")
	roundTrip(t, codec.For[[2]string](), [2]string{"a", "b"}, `["a","b"]`)
}

func TestFaultsAreErrors(t *testing.T) {
	for name, err := range map[string]error{
		"short int64":    second(codec.Int64.Decode([]byte("1234567"))),
		"long float64":   second(codec.Float64.Decode([]byte("123456789"))),
		"short level":    second(codec.For[level]().Decode(nil)),
		"short float32":  second(codec.For[float32]().Decode([]byte{1})),
		"not JSON":       second(codec.JSON[click]().Decode([]byte("{"))),
		"name twice":     second(codec.JSON[click]().Decode([]byte(`{"user_id":"a","user_id":"b"}`))),
		"not JSON's NaN": second(codec.JSON[float64]().Append(nil, math.NaN())),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestDecodeAllStopsAtTheFault(t *testing.T) {
	good := bytes.Repeat([]byte{0}, 8)
	n, err := codec.DecodeAll(codec.Int64, [][]byte{good, good, {1}, good}, make([]int64, 4))
	if n != 2 || err == nil {
		t.Errorf("got %d, %v", n, err)
	}
}

func ExampleJSON() {
	type Click struct {
		User string `json:"user_id"`
		Page string `json:"page"`
	}
	clicks := codec.JSON[Click]()
	b, _ := clicks.Append(nil, Click{User: "ana", Page: "/home"})
	fmt.Println(string(b))
	c, err := clicks.Decode([]byte(`{"user_id":"bob","page":"/","seen":true}`))
	fmt.Println(c.User, err)
	// Output:
	// {"user_id":"ana","page":"/home"}
	// bob <nil>
}

func ExampleFor() {
	type UserID string
	fmt.Println(codec.For[UserID]().Name(), codec.For[int32]().Name(), codec.For[struct{ X int }]().Name())
	// Output: string int32 json
}
